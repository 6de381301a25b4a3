"""Many images in, few runs out."""
