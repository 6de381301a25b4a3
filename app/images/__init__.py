"""Uploaded bytes to pixels."""
