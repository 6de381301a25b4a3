"""The command `vgg-serve predict`: files in order, here or on a server, as tables, JSON or CSV."""
