"""Which network of the family a checkpoint holds, from the shapes of its weights alone."""

import re
from collections.abc import Mapping
from math import isqrt

from app.graph.vgg import CONFIGURATIONS, VggConfig
from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Shape, Stored, shown

_DENSE = 3
_CONVOLUTION = 4
_GROUPS = 5


def config_of(stored: Mapping[str, Stored]) -> VggConfig:
    """Return the network whose tensors these are.

    The sides of the kernels, in order, tell the configurations apart: A, B, D and E have 8, 10, 13
    and 16 convolutions of 3x3, and three of the 13 of C are 1x1.

    Raises:
        CheckpointError: If it is no network of the family.
    """
    weights = {n: _without_ones(one.shape) for n, one in stored.items() if n.endswith(".weight")}
    layers = [name for name, shape in weights.items() if len(shape) > 1]  # not batch norm's
    order = sorted(layers, key=lambda name: _place(name, weights[name]))
    shapes = [weights[name] for name in order]
    convolutions, dense = shapes[:-_DENSE], shapes[-_DENSE:]
    # A shorter head leaves a convolution among the last three; timm's pre_logits is one by itself.
    too_short = any(name.startswith("features.") for name in order[-_DENSE:])
    if not convolutions or too_short or any(len(shape) != _CONVOLUTION for shape in convolutions):
        raise CheckpointError(
            f"it has {len(shapes)} layers with weights, expected convolutions and then"
            " three fully connected layers"
        )
    kernels = tuple(shape[-1] for shape in convolutions)
    for configuration, groups in CONFIGURATIONS.items():
        if kernels == tuple(side for group in groups for side in group):
            return _sized(configuration, [shape[0] for shape in convolutions], dense)
    raise CheckpointError(
        f"its convolutions have kernels of {shown(list(kernels))} pixels; VGG-11, 13,"
        " 16 and 19 have 8, 10, 13 and 16 of 3 pixels"
    )


def _sized(configuration: str, outputs: list[int], dense: list[Shape]) -> VggConfig:
    """Return the network of this configuration with its widths, its side and its classes."""
    widths, at = [], 0
    for group in CONFIGURATIONS[configuration]:
        found = {*outputs[at : at + len(group)]}
        if len(found) != 1:
            raise CheckpointError(f"a group of convolutions has {shown(found)} channels")
        widths.append(found.pop())
        at += len(group)
    first, second, third, fourth, fifth = widths
    sixth, seventh, last = dense
    inputs = sixth[1] * (sixth[2] * sixth[3] if len(sixth) == _CONVOLUTION else 1)
    side = isqrt(inputs // fifth)
    if side < 1 or side * side * fifth != inputs:
        raise CheckpointError(
            f"its first fully connected layer has {inputs} inputs, expected a square"
            f" map of {fifth} channels"
        )
    return VggConfig(
        configuration,
        (first, second, third, fourth, fifth),
        (sixth[0], seventh[0]),
        last[0],
        side * 2**_GROUPS,
    )


def _without_ones(shape: Shape) -> Shape:
    """Return [out, in] for the [1, 1, out, in] of Caffe before 2015."""
    return shape[2:] if len(shape) == _CONVOLUTION and shape[:2] == (1, 1) else shape


def _place(name: str, shape: Shape) -> tuple[bool, bool, bool, list[int]]:
    """Return a key that sorts the names of any publisher by the order of the layers."""
    numbers = [int(one) for one in re.findall(r"\d+", name)]
    is_dense = re.match(r"classifier|pre_logits|head|fc|dense|predictions", name) is not None
    is_dense = is_dense or len(shape) == len(("out", "in"))
    is_last = re.match(r"classifier|pre_logits|fc|dense", name) is None
    is_new = name.startswith("dense")  # comes after fc1 and fc2 of Keras
    return is_dense, is_dense and is_last, is_new, numbers
