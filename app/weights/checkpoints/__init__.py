"""Any published checkpoint of the VGG family, read as layers. Nothing is ever unpickled.

`read.read_checkpoint` is the entry. Each format has a module, which lists the tensors of a file and
knows what its publishers call the layers; `layout` checks the tensors, makes layers of them, and
folds batch norm into them.
"""
