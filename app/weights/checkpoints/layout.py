"""What a checkpoint has to hold, and the checks that all formats share.

A sentence made here has no subject: `read.read_checkpoint` puts the file in front of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import CheckpointError
from app.graph.vgg import VggConfig
from app.records import Tensor

Shape: TypeAlias = tuple[int, ...]

_FLOATS: Final = frozenset({"float16", "bfloat16", "float32", "float64"})
_SHOWN: Final = 120  # characters of a foreign text that a sentence quotes


@dataclass(frozen=True, slots=True)
class Expected:
    """The shapes that one layer may have in a file, the one of `Layer` first.

    All of them hold the same numbers in the same order, so that a reshape is enough.

    Attributes:
        weight: A fully connected layer may be stored as the convolution that it equals
            (the paper's section 3.2, timm) or with two leading ones (Caffe before 2015).
        bias: With leading ones too.
    """

    weight: tuple[Shape, ...]
    bias: tuple[Shape, ...]


def expected_layers(config: VggConfig) -> dict[str, Expected]:
    """Map the name of each layer with weights to the shapes that it may have, in order."""
    expected = {}
    inputs: Shape = ()  # [channels, height, width] of the map that the layer sees
    for row in config.layers():
        if row.weight_shape:
            out, into = row.weight_shape[:2]
            forms: tuple[Shape, ...] = (row.weight_shape,)
            if row.kernel == 0:
                forms = (row.weight_shape, (1, 1, out, into), (out, *inputs))
            expected[row.name] = Expected(forms, ((out,), (1, out), (1, 1, 1, out)))
        inputs = row.output_shape if len(row.output_shape) > 1 else (*row.output_shape, 1, 1)
    return expected


def check_names(found: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse a file that lacks a tensor, or has one that the network has no place for."""
    there, wanted = set(found), dict.fromkeys(expected)
    if missing := [name for name in wanted if name not in there]:
        raise CheckpointError(f"has no tensor {_listed(missing)}, which this network needs")
    if extra := sorted(there.difference(wanted)):
        raise CheckpointError(f"has a tensor {_listed(extra)}, for which this network has no place")


def check_shape(tensor: str, found: Iterable[int], accepted: tuple[Shape, ...]) -> None:
    """Refuse a shape that is not accepted; called before the values are read."""
    shape = tuple(found)
    if shape not in accepted:
        raise CheckpointError(
            f"has {shown(tensor)} with shape {shown(list(shape))}, expected {list(accepted[0])}"
        )


def check_dtype(tensor: str, dtype: np.dtype[np.generic]) -> None:
    """Refuse what is not floating point, quantised weights for one."""
    if dtype.name not in _FLOATS:
        raise CheckpointError(
            f"has {shown(tensor)} as {dtype.name}, expected floating point of 16, 32 or 64 bits"
        )


def as_tensor(tensor: str, values: NDArray[np.generic], shape: Shape) -> Tensor:
    """Convert to float32 of `shape`, native and contiguous, and check that all is finite.

    The result shares memory with `values` where it can, and may be read-only.
    """
    check_dtype(tensor, values.dtype)
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        converted = np.ascontiguousarray(values, dtype=np.float32).reshape(shape)
    if not np.isfinite(converted).all():
        raise CheckpointError(f"has a value in {shown(tensor)} that is not a finite float32")
    return converted


def shown(text: object) -> str:
    """Make a foreign text fit for a sentence: one line, printable, not long."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _listed(names: list[str]) -> str:
    rest = len(names) - 1
    return f"{shown(names[0])}{f' (nor {rest} more)' if rest else ''}"
