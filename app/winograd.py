"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution as a quarter of the multiplications.

Sixteen outputs of a channel, a tile, come of the 36 values of a 6x6 window, which overlaps the
next by two. Window, kernel and products change into another domain and back by fixed matrices;
there a convolution is 36 products of matrices, one for each place in the window:

    outputs = A' [ (G kernel G') * (B' window B) ] A,  summed over the input channels

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
All of it is written as standard ONNX operators, chosen and ordered by what onnxruntime does with
them on a CPU (docs/performance.md). The channels of a pixel lie side by side (app/pixel_rows.py), so
that windows are gathered by copying whole rows, and tiles never have to be put together: the next
layer gathers its windows out of them.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.node_list import NodeList
from app.pixel_rows import PixelRows
from app.records import Tensor

_Numbers: TypeAlias = NDArray[np.int64]

TILE: Final = 4
"""Side of a tile, in pixels of the output."""
_WINDOW: Final = TILE + 2
_PLACES: Final = _WINDOW**2
_POOL: Final = 2
_FEW: Final = 16
"""Tiles of a map up to which the kernels are the left matrices of the products: what is on the right
is repacked for each product, and should be the smaller of the two."""
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
    """A 3x3 convolution with stride 1 that keeps the size of its maps, its ReLU, and pooling after it.

    Attributes:
        name: What its nodes and tensors are called.
        inputs: Channels.
        outputs: Channels.
        side: Of its maps, in pixels; even if it is pooled.
        pooled: Whether 2x2 max-pooling with stride 2 follows.
    """

    name: str
    inputs: int
    outputs: int
    side: int
    pooled: bool

    @property
    def _across(self) -> int:
        """How many tiles there are along a side of its maps."""
        return -(-self.side // TILE)

    @property
    def kernels_first(self) -> bool:
        """Whether a product is kernels by windows, and not windows by kernels."""
        return self._across**2 <= _FEW

    @property
    def tiles(self) -> int:
        """How many tiles there are; of many, one of zeros after the others.

        That costs less than to append zeros to the result, unless there are few: sixteen are half
        again as fast as seventeen.
        """
        return self._across**2 + (not self.kernels_first)

    def tensors(self, weight: Tensor, bias: Tensor) -> list[tuple[str, Tensor]]:
        """Change kernels into the domain of the products, in float64: G kernel G'.

        Args:
            weight: float32 [outputs, inputs, 3, 3].
            bias: float32 [outputs].

        Returns:
            Names and float32: the kernels, four times as many numbers as `weight`, [36, outputs,
            inputs] if they come first and [36, inputs, outputs] otherwise; and the bias of each
            tile, [tiles, 1, outputs], which leaves the tile of zeros as it is.
        """
        both = np.kron(_KERNEL, _KERNEL)  # rows: places of a window; columns: places of a kernel
        places = both @ weight.reshape(-1, _PLACES // GROWTH).T
        kernels = _single(places).reshape(_PLACES, self.outputs, self.inputs)
        if not self.kernels_first:
            kernels = kernels.swapaxes(1, 2)
        biases: Tensor = np.tile(bias, (self.tiles, 1, 1))
        biases[self._across**2 :] = 0
        return [(f"{self.name}_winograd", kernels), (f"{self.name}_bias", biases)]

    def windows(self) -> tuple[_Numbers, _Numbers]:
        """Find y and x of the pixels in all windows, [36, tiles] each."""
        row, column = np.divmod(np.arange(self.tiles), self._across)
        row[self._across**2 :] = -2  # the tile of zeros: its whole window is outside
        down, across = np.divmod(np.arange(_PLACES)[:, np.newaxis], _WINDOW)
        return row * TILE + down - 1, column * TILE + across - 1

    def rows(self) -> _Numbers:
        """Find the row of each pixel of the result, [side, side]: pixels are rows of tiles."""
        side, tile = self.side, TILE
        if self.pooled:
            side, tile = side // _POOL, tile // _POOL
        y, x = np.indices((side, side))
        pixel = y % tile * tile + x % tile
        return pixel * self.tiles + y // tile * self._across + x // tile


def convolve(nodes: NodeList, convolution: Convolution, maps: PixelRows) -> PixelRows:
    """Add a convolution with its ReLU and pooling.

    Args:
        nodes: Takes the nodes.
        convolution: What to compute; its tensors are to be among those of the graph.
        maps: What to compute it of.

    Returns:
        The new maps.
    """
    nodes.scope = convolution.name
    tiles, channels = convolution.tiles, convolution.outputs
    values = _products(nodes, convolution, maps.gather(nodes, *convolution.windows()))
    back = np.kron(_OUTPUT, _OUTPUT)
    pixels = TILE * TILE
    if convolution.pooled:
        # The four outputs that one pooled output is the greatest of stand side by side; to reduce
        # an axis in the middle is four times as fast as the first one.
        side = TILE // _POOL
        back = back.reshape(side, _POOL, side, _POOL, _PLACES).swapaxes(1, 2)
        pixels = side * side
    matrix = nodes.constant(_single(back.reshape(TILE * TILE, _PLACES)))
    values = nodes.add("MatMul", matrix, values)
    if convolution.pooled:
        values = nodes.add("Reshape", values, nodes.integers(pixels, _POOL * _POOL, -1))
        values = nodes.add("ReduceMax", values, axes=[1], keepdims=0)
    if convolution.kernels_first:
        values = nodes.add("Reshape", values, nodes.integers(pixels, channels, -1))
        values = nodes.add("Transpose", values, perm=[0, 2, 1])
    values = nodes.add("Reshape", values, nodes.integers(pixels, tiles, -1, channels))
    values = nodes.add("Relu", nodes.add("Add", values, f"{convolution.name}_bias"))
    values = nodes.add("Reshape", values, nodes.integers(pixels * tiles, -1, channels))
    if convolution.kernels_first:
        return PixelRows.with_zeros(nodes, values, convolution.rows(), pixels * tiles)
    return PixelRows(values, convolution.rows(), zeros=tiles - 1)


def _products(nodes: NodeList, convolution: Convolution, windows: str) -> str:
    """Bring windows, [36, tiles, N, inputs], into the domain, and multiply by the kernels."""
    forth = nodes.constant(_single(np.kron(_INPUT, _INPUT)))
    windows = nodes.add("Reshape", windows, nodes.integers(_PLACES, -1))
    windows = nodes.add("MatMul", forth, windows)
    windows = nodes.add("Reshape", windows, nodes.integers(_PLACES, -1, convolution.inputs))
    kernels = f"{convolution.name}_winograd"
    if convolution.kernels_first:  # the Transpose costs nothing, it becomes part of the product
        windows = nodes.add("Transpose", windows, perm=[0, 2, 1])
        products = nodes.add("MatMul", kernels, windows)
    else:
        products = nodes.add("MatMul", windows, kernels)
    return nodes.add("Reshape", products, nodes.integers(_PLACES, -1))


def _single(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Round to float32; of B' and A' nothing is lost by it."""
    return values.astype(np.float32)
