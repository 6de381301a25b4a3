"""Front processes, which speak HTTP and decode, and their connection to the owner of the models."""
