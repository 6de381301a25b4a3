"""A file from its address to its place on disk: resumed, verified, whole or not at all."""
