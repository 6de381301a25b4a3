"""Processes that speak HTTP and decode, in front of the one that owns the models."""
