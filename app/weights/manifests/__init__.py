"""Manifests: what each model is, and which there are."""

from app.weights.manifests.catalog import (
    BUILT_IN,
    INSTALLED,
    find_file,
    load_catalog,
    read_manifest,
)
from app.weights.manifests.manifest import (
    FORMATS,
    NAME,
    Accuracy,
    Checkpoint,
    DataFile,
    Manifest,
    SelfTest,
)

__all__ = [
    "BUILT_IN",
    "FORMATS",
    "INSTALLED",
    "NAME",
    "Accuracy",
    "Checkpoint",
    "DataFile",
    "Manifest",
    "SelfTest",
    "find_file",
    "load_catalog",
    "read_manifest",
]
