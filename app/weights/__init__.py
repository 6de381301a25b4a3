"""From a manifest to a verified serving graph on disk."""
