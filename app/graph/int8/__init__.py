"""A VGG in whole numbers: uint8 activations, int8 weights, int32 sums."""
