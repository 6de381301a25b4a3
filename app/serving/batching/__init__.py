"""Collects images of many requests into few runs."""
