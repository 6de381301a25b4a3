"""VGG as data, and the ONNX graphs made from it."""
