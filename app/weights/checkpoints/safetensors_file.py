"""Read a safetensors checkpoint with the tensor names of torchvision or of timm."""

from functools import partial
from pathlib import Path
from typing import Final

from safetensors import safe_open

from app.graph.vgg import VggConfig
from app.records import Layer
from app.weights.checkpoints.layout import Stored, read_layers

# NumPy has bfloat16 since onnx was imported, which imports ml_dtypes.
_DTYPES: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

_TORCHVISION: Final = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
_TIMM: Final = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}
"""There, fc6 and fc7 are convolutions (`timm/models/vgg.py`)."""


def read_safetensors(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`."""
    with safe_open(path, framework="numpy") as file:
        stored = {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        is_timm = any(name.startswith("pre_logits.") for name in stored)
        has_norm = any(name.endswith(".running_mean") for name in stored)
        places = convolution_places(config, has_norm=has_norm)
        names = {layer: f"features.{place}" for layer, place in places.items()}
        norms = {layer: f"features.{place + 1}" for layer, place in places.items()}
        names |= _TIMM if is_timm else _TORCHVISION
        return read_layers(config, names, stored, norms if has_norm else None)


def convolution_places(config: VggConfig, *, has_norm: bool) -> dict[str, int]:
    """Return 2 for `conv1_2`: its index in a `Sequential` with batch norm, ReLU and pooling."""
    places, index = {}, 0
    for row in config.layers():
        if row.kind == "convolution":
            places[row.name] = index
        index += 2 + has_norm if row.kind == "convolution" else 1
    return places


def _stored(file: safe_open, name: str) -> Stored:
    tensor = file.get_slice(name)  # type: ignore[no-untyped-call]
    dtype = tensor.get_dtype()
    read = partial(file.get_tensor, name)
    return Stored(tuple(tensor.get_shape()), _DTYPES.get(dtype, dtype), read)
