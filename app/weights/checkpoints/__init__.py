"""Any published checkpoint of the VGG family, read as layers. Nothing is ever unpickled.

`read.read_checkpoint` is the entry. Each format has a module, which lists the tensors of a file and
knows what its publishers call the layers; `layout` checks the tensors and makes layers of them, and
is the place where a network with more tensors per layer (batch norm) would be folded.
"""
