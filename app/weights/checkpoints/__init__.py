"""Any published checkpoint of the VGG family, read as named tensors.

`read.read_checkpoint` is the way in; each format has a module of its own, and
`layout` holds what they share. Nothing is ever unpickled.
"""
