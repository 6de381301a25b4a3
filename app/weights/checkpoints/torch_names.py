"""The names that torchvision and timm give to the tensors of a VGG, in any file of PyTorch's."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from app.graph.vgg import VggConfig
from app.records import Layer, Tensor
from app.weights.checkpoints.layout import Norm, Stored, read_layers

_DENSE: Final = ("fc6", "fc7", "fc8")
_TORCHVISION: Final = re.compile(r"classifier\.(\d+(?:\.\d+)*)\.weight")
"""The index is 0, 3 and 6 there; without dropout, or with more of it, it is another one, or 6.1."""
_TIMM: Final = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}
"""There, fc6 and fc7 are convolutions (`timm/models/vgg.py`)."""

_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers of a network put before the names of its tensors."""
_OF_TRAINING: Final = re.compile(
    r"n_averaged|(criterion|loss|loss_fn|loss_func|train_loss|val_loss)\.(pos_)?weight"
)
"""Tensors beside the network: of `AveragedModel`, and the weights of classes in a loss."""

_T = TypeVar("_T")


def of_network(named: Mapping[str, _T]) -> dict[str, _T]:
    """Return the tensors of the network by their names in it, without those of its training."""
    kept = {name: one for name, one in named.items() if not _OF_TRAINING.fullmatch(name)}
    while prefix := next((p for p in _PREFIXES if kept and all(n.startswith(p) for n in kept)), ""):
        kept = {name.removeprefix(prefix): one for name, one in kept.items()}
    return kept


def read_torch_layers(config: VggConfig, stored: Mapping[str, Stored]) -> dict[str, Layer]:
    """Read the layers of `config`, with batch norm or without."""
    has_norm = any(name.endswith(".running_mean") for name in stored)
    places = convolution_places(config, has_norm=has_norm)
    names = {layer: f"features.{place}" for layer, place in places.items()}
    norms = {layer: Norm(f"features.{place + 1}") for layer, place in places.items()}
    matches = (match[1] for match in map(_TORCHVISION.fullmatch, stored) if match)
    dense = sorted(matches, key=lambda place: [*map(int, place.split("."))])
    if any(name.startswith("pre_logits.") for name in stored):
        names |= _TIMM
    else:
        dense = dense if len(dense) == len(_DENSE) else ["0", "3", "6"]
        names |= {layer: f"classifier.{i}" for layer, i in zip(_DENSE, dense, strict=True)}
    return read_layers(config, names, stored, norms if has_norm else None)


def torchvision_tensors(config: VggConfig, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    """Return the weights of a network by torchvision's names."""
    places = convolution_places(config, has_norm=False)
    names = {layer: f"features.{place}" for layer, place in places.items()}
    names |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    weights = {f"{names[layer]}.weight": one.weight for layer, one in layers.items()}
    return weights | {f"{names[layer]}.bias": one.bias for layer, one in layers.items()}


def convolution_places(config: VggConfig, *, has_norm: bool) -> dict[str, int]:
    """Return 2 for `conv1_2`: its index in a `Sequential` with batch norm, ReLU and pooling."""
    places, index = {}, 0
    for row in config.layers():
        if row.kind == "convolution":
            places[row.name] = index
        index += 2 + has_norm if row.kind == "convolution" else 1
    return places
