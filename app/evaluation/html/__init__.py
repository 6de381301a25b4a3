"""The report as one HTML file: no script, no address of another host, light and dark, for a screen and for paper."""
