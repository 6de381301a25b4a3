"""vgg-serve: the five most probable ImageNet classes of a photo, from VGG-16 and VGG-19."""

__version__ = "0.1.0"
