"""Manifests: what each model is, and which there are."""
