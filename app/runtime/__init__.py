"""A serving graph on a device: CPU or CUDA."""
