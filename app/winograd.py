"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution as a quarter of the multiplications.

Sixteen outputs of a channel, a tile, come of the 36 values of a 6x6 window, which overlaps the
next by two. Window, kernel and products change into another domain and back by fixed matrices;
there a convolution is 36 products of matrices, one for each place in the window:

    outputs = A' [ (G kernel G') * (B' window B) ] A,  summed over the input channels

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
All of it is written as standard ONNX operators, chosen and ordered by what onnxruntime does with
them on a CPU (docs/performance.md): a Transpose in front of a MatMul costs nothing, it becomes
one strided product; DepthToSpace puts tiles together faster than any other operator.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.node_list import NodeList
from app.records import Tensor

TILE: Final = 4
"""Side of a tile, in pixels of the output."""
_WINDOW: Final = TILE + 2
_PLACES: Final = _WINDOW**2
_POOL: Final = 2
GROWTH: Final = _PLACES // 9
"""How many times as many numbers a transformed kernel has."""

_POINTS: Final = (0.0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
"""Where the polynomials behind the algorithm are taken, besides infinity.

With the usual 0, 1, -1, 2, -2 rounding costs twice as much, and up to three times at its worst
(docs/performance.md); of these the numbers in float32 are exact too."""


def _matrices() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Build B', G and A' from the points, after Cook and Toom."""
    points = np.array(_POINTS)
    others = [np.delete(points, place) for place in range(len(points))]
    back = np.append(np.vander(points, TILE, increasing=True), [[0] * (TILE - 1) + [1]], axis=0)
    scales = np.array([np.prod(p - rest) for p, rest in zip(points, others, strict=True)])
    kernel = np.vander(points, 3, increasing=True) / scales[:, np.newaxis]
    rows = [np.append(np.poly(rest)[::-1], 0) for rest in others]
    forth = np.array([*rows, np.poly(points)[::-1]])
    return forth, np.append(kernel, [[0, 0, 1]], axis=0), back.T


_INPUT, _KERNEL, _OUTPUT = _matrices()


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 3x3 convolution with stride 1 that keeps the width, its ReLU, and pooling after it.

    Attributes:
        weight: Name of its weight as `transformed` gives it.
        bias: Name of its bias, [outputs].
        inputs: Channels.
        outputs: Channels.
        width: Of its maps, in pixels; even if it is pooled.
        pooled: Whether 2x2 max-pooling with stride 2 follows.
    """

    weight: str
    bias: str
    inputs: int
    outputs: int
    width: int
    pooled: bool


def transformed(weight: Tensor) -> Tensor:
    """Change kernels into the domain of the products, in float64: G kernel G'.

    Args:
        weight: float32 [outputs, inputs, 3, 3].

    Returns:
        float32 [36, outputs, inputs]: four times as many numbers.
    """
    outputs, inputs = weight.shape[:2]
    both = np.kron(_KERNEL, _KERNEL)  # rows: places of a window; columns: places of a kernel
    kernels = weight.reshape(outputs * inputs, 9).T
    return (both @ kernels).astype(np.float32).reshape(_PLACES, outputs, inputs)


def convolve(
    nodes: NodeList, convolution: Convolution, value: str, *, above: int, below: int
) -> str:
    """Add a convolution with its ReLU and pooling.

    Args:
        nodes: Takes the nodes.
        convolution: What to compute.
        value: float32, in memory [inputs, rows, width]. Rows plus `above` and `below` are two
            more than a multiple of 4.
        above: Rows of zeros to put above: 1 at the upper edge of the map, or 0.
        below: Rows of zeros to put below.

    Returns:
        float32 [1, outputs, rows, width] of all whole tiles, halved if pooled: rows that the map
        does not have are for the caller to cut off.
    """
    width = convolution.width
    tiles = -(-width // TILE)
    maps = nodes.add("Reshape", value, nodes.integers(convolution.inputs, 1, -1, width))
    windows = nodes.add(
        "Conv",
        maps,
        nodes.constant(_single(np.kron(_INPUT, _INPUT)).reshape(_PLACES, 1, _WINDOW, _WINDOW)),
        kernel_shape=[_WINDOW, _WINDOW],
        strides=[TILE, TILE],
        pads=[above, 1, below, tiles * TILE + 1 - width],
    )
    windows = nodes.add("Reshape", windows, nodes.integers(convolution.inputs, _PLACES, -1))
    windows = nodes.add("Transpose", windows, perm=[1, 0, 2])
    products = nodes.add("MatMul", convolution.weight, windows)
    products = nodes.add("Reshape", products, nodes.integers(_PLACES, -1))
    side = TILE
    back = np.kron(_OUTPUT, _OUTPUT)
    if convolution.pooled:
        side = TILE // _POOL
        # The four outputs that one pooled output is the greatest of stand side by side.
        back = back.reshape(side, _POOL, side, _POOL, _PLACES).swapaxes(1, 2)
    flat = _single(back.reshape(TILE * TILE, _PLACES))
    outputs = nodes.add("MatMul", nodes.constant(flat), products)
    if convolution.pooled:
        outputs = nodes.add("Reshape", outputs, nodes.integers(side * side, _POOL * _POOL, -1))
        outputs = nodes.add("ReduceMax", outputs, axes=[1], keepdims=0)
    planes = side * side * convolution.outputs
    outputs = nodes.add("Reshape", outputs, nodes.integers(1, planes, -1, tiles))
    outputs = nodes.add("DepthToSpace", outputs, blocksize=side, mode="DCR")
    kept = width * side // TILE
    if kept != tiles * side:
        outputs = nodes.add(
            "Slice", outputs, nodes.integers(0), nodes.integers(kept), nodes.integers(3)
        )
    bias = nodes.add("Reshape", convolution.bias, nodes.integers(1, convolution.outputs, 1, 1))
    return nodes.add("Relu", nodes.add("Add", outputs, bias))


def _single(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Round to float32; these small whole numbers lose nothing by it."""
    return values.astype(np.float32)
