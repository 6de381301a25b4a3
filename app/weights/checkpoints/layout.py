"""Make checked layers of the tensors of a file.

A sentence made here has no subject: `read.read_checkpoint` puts the file in front of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.graph.vgg import VggConfig
from app.records import Layer, Tensor
from app.setup_errors import CheckpointError

Shape: TypeAlias = tuple[int, ...]

_FLOATS: Final = frozenset({"float16", "bfloat16", "float32", "float64"})
_NORM: Final = ("weight", "bias", "running_mean", "running_var")
_SHOWN: Final = 120  # characters of a foreign text that a sentence quotes


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file, not read yet.

    Attributes:
        shape: [out, in, height, width] or [out, in]; or one that holds the same numbers in the
            same order, see `_shapes`.
        dtype: NumPy's name of its type.
        read: Reads the values; called after shape and type have been checked.
    """

    shape: Shape
    dtype: str
    read: Callable[[], NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch norm behind a layer: its tensors are NAME.weight, .bias, .running_mean, .running_var.

    `epsilon` is PyTorch's default, with which torchvision and timm trained their networks; a state
    dict does not hold it.
    """

    name: str
    epsilon: float = 1e-5


def read_layers(
    config: VggConfig,
    names: Mapping[str, str],
    stored: Mapping[str, Stored],
    norms: Mapping[str, Norm] | None = None,
) -> dict[str, Layer]:
    """Read the layers of a network, one tensor at a time.

    Args:
        config: The network.
        names: What the publisher calls each layer, by the paper's name.
        stored: The tensors of the file: these and no others, NAME.weight and NAME.bias.
        norms: The batch norm behind a layer, if there is one; it is folded into the layer, which
            then may lack a bias.
    """
    norms = norms or {}
    wanted = [f"{name}.{part}" for name in names.values() for part in ("weight", "bias")]
    wanted += [f"{norm.name}.{part}" for norm in norms.values() for part in _NORM]
    optional = {f"{names[layer]}.bias" for layer in norms}
    if missing := [name for name in wanted if name not in stored and name not in optional]:
        raise CheckpointError(f"has no tensor {_listed(missing)}, which this network needs")
    counts = {f"{norm.name}.num_batches_tracked" for norm in norms.values()}  # for training alone
    if extra := sorted(stored.keys() - set(wanted) - counts):
        raise CheckpointError(f"has a tensor {_listed(extra)}, for which this network has no place")
    layers = {}
    for name, weight, bias in _shapes(config):
        place = f"{names[name]}.bias"
        none = np.zeros(bias[0], np.float32)
        layer = Layer(
            weight=_read(f"{names[name]}.weight", stored, weight),
            bias=_read(place, stored, bias) if place in stored else none,
        )
        if name in norms:
            tensors = [_read(f"{norms[name].name}.{part}", stored, bias) for part in _NORM]
            layer = _folded(name, layer, norms[name].epsilon, *tensors)
        layers[name] = layer
    return layers


def with_new_last(names: Mapping[str, str], stored: Mapping[str, object]) -> dict[str, str]:
    """Return the names, with another one for the last layer, if a file has one other layer instead.

    Who fine-tunes with Caffe has to rename fc8, and Keras calls a new last layer `dense`.
    """
    *_, last = names
    others = {name.removesuffix(".weight") for name in stored if name.endswith(".weight")}
    others -= {*names.values()}
    if f"{names[last]}.weight" in stored or len(others) != 1:
        return dict(names)
    return {**names, last: others.pop()}


def _folded(
    name: str,
    layer: Layer,
    epsilon: float,
    gain: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> Layer:
    """Fold batch norm, gain * (x - mean) / sqrt(variance + epsilon) + shift, in float64."""
    if variance.min() < 0:
        raise CheckpointError(f"has a negative variance behind {name}")
    scale = gain.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    bias = (layer.bias - mean.astype(np.float64)) * scale + shift
    return Layer(weight.astype(np.float32), bias.astype(np.float32))


def _shapes(config: VggConfig) -> Iterator[tuple[str, list[Shape], list[Shape]]]:
    """Yield each layer with the shapes that its weight and bias may have, that of `Layer` first.

    A fully connected layer may be stored as the convolution that it equals (the paper's section
    3.2, timm) or with leading ones (Caffe before 2015). A reshape is enough.
    """
    inputs: Shape = ()  # [channels, height, width] of the map that the layer sees
    for row in config.layers():
        if row.weight_shape:
            out, into = row.weight_shape[:2]
            dense: list[Shape] = [] if row.kernel else [(1, 1, out, into), (out, *inputs)]
            yield row.name, [row.weight_shape, *dense], [(out,), (1, out), (1, 1, 1, out)]
        inputs = row.output_shape if len(row.output_shape) > 1 else (*row.output_shape, 1, 1)


def _read(name: str, stored: Mapping[str, Stored], accepted: list[Shape]) -> Tensor:
    """Read one tensor: native, contiguous, finite; it may share memory and be read-only."""
    tensor = stored[name]
    if tensor.shape not in accepted:
        found = shown(list(tensor.shape))
        raise CheckpointError(f"has {name} with shape {found}, expected {list(accepted[0])}")
    if tensor.dtype not in _FLOATS:
        raise CheckpointError(
            f"has {name} as {shown(tensor.dtype)}, expected floats of 16, 32 or 64 bits"
        )
    with np.errstate(over="ignore"):  # a value too large for float32 is found below
        values = np.ascontiguousarray(tensor.read(), dtype=np.float32).reshape(accepted[0])
    if not np.isfinite(values).all():
        raise CheckpointError(f"has a value in {name} that is not a finite float32")
    return values


def shown(text: object) -> str:
    """Make a foreign text fit for a sentence: one line, printable, not long."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _listed(names: list[str]) -> str:
    rest = len(names) - 1
    return f"{shown(names[0])}{f' (nor {rest} more)' if rest else ''}"
