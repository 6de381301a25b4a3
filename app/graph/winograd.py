"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution as a quarter of the multiplications.

Sixteen outputs of a channel, a tile, come of the 36 values of a 6x6 window, which overlaps the
next by two. Window, kernel and products change into another domain and back by fixed matrices;
there a convolution is 36 products of matrices, one for each place in the window:

    outputs = A' [ (G kernel G') * (B' window B) ] A,  summed over the input channels

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
It is written in the operators that onnxruntime is fastest with on a CPU (docs/performance.md), with
maps in its own layout for convolutions (app/graph/channel_blocks.py). Tiles never have to be put together:
the next layer gathers its windows out of them.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.graph.channel_blocks import BLOCKED, ChannelBlocks
from app.graph.node_list import NodeList
from app.records import Tensor

_Numbers: TypeAlias = NDArray[np.int64]

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


@dataclass(frozen=True, slots=True)
class _Transforms:
    """The changes of domain of both directions at once, each as one matrix, in float64.

    Attributes:
        window: [36, 36], from the pixels of a window: B' x B'.
        kernel: [36, 9], from a 3x3 kernel: G x G.
        tile: [16, 36], from the products to the pixels of a tile: A' x A'.
        ones: [36], products that become sixteen ones.
    """

    window: NDArray[np.float64]
    kernel: NDArray[np.float64]
    tile: NDArray[np.float64]
    ones: NDArray[np.float64]


@cache
def _transforms() -> _Transforms:
    """Build B', G and A' from the points, after Cook and Toom."""
    points = np.array(_POINTS)
    others = [np.delete(points, place) for place in range(len(points))]
    rows = [np.append(np.poly(rest)[::-1], 0) for rest in others]
    window = np.array([*rows, np.poly(points)[::-1]])
    scales = np.array([np.prod(p - rest) for p, rest in zip(points, others, strict=True)])
    kernel = np.vander(points, 3, increasing=True) / scales[:, np.newaxis]
    kernel = np.append(kernel, [[0, 0, 1]], axis=0)
    tile = np.vander(points, TILE, increasing=True)
    tile = np.append(tile, [[0] * (TILE - 1) + [1]], axis=0).T
    ones = np.linalg.lstsq(tile, np.ones(TILE))[0]
    return _Transforms(*(np.kron(one, one) for one in (window, kernel, tile, ones)))


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 3x3 convolution with stride 1 that keeps the size of its maps, its ReLU, and pooling after it.

    Attributes:
        name: What its nodes and tensors are called.
        inputs: Channels, a multiple of `block`.
        outputs: Channels, a multiple of `block`.
        side: Of its maps, in pixels; even if it is pooled.
        pooled: Whether 2x2 max-pooling with stride 2 follows.
        block: Channels that lie side by side.
    """

    name: str
    inputs: int
    outputs: int
    side: int
    pooled: bool
    block: int

    @property
    def _across(self) -> int:
        """How many tiles there are along a side of its maps."""
        return -(-self.side // TILE)

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return self._across**2

    def tensors(self, weight: Tensor, bias: Tensor) -> list[tuple[str, Tensor]]:
        """Change kernels and bias into the domain of the products, in float64: G kernel G'.

        Args:
            weight: float32 [outputs, inputs, 3, 3].
            bias: float32 [outputs].

        Returns:
            Names and float32: the kernels, four times as many numbers as `weight`, [36 * outputs,
            inputs, 1, 1], with blocks of inputs by outputs inside; and what the bias of all
            sixteen outputs of a tile is before they are changed back, [36 * outputs].
        """
        # rows: places of a window; columns: places of a kernel
        places = _single(_transforms().kernel @ weight.reshape(-1, _PLACES // GROWTH).T)
        places = places.reshape(-1, self.block, self.inputs // self.block, self.block)
        return [
            (f"{self.name}_winograd", places.transpose(0, 2, 3, 1).reshape(-1, self.inputs, 1, 1)),
            (f"{self.name}_bias", _single(np.outer(_transforms().ones, bias).reshape(-1))),
        ]

    def windows(self) -> tuple[_Numbers, _Numbers]:
        """Find y and x of the pixels in all windows, [36, tiles] each."""
        row, column = np.divmod(np.arange(self.tiles), self._across)
        down, across = np.divmod(np.arange(_PLACES)[:, np.newaxis], _WINDOW)
        return row * TILE + down - 1, column * TILE + across - 1

    def row_of(self) -> _Numbers:
        """Number each block of each pixel of the result: rows are [pixels of a tile, blocks, tiles]."""
        side, tile = self.side, TILE
        if self.pooled:
            side, tile = side // _POOL, tile // _POOL
        blocks = self.outputs // self.block
        block, y, x = np.indices((blocks, side, side))
        pixel = y % tile * tile + x % tile
        found: _Numbers = (pixel * blocks + block) * self.tiles
        found += y // tile * self._across + x // tile
        return found


def convolve(nodes: NodeList, convolution: Convolution, maps: ChannelBlocks) -> ChannelBlocks:
    """Add a convolution with its ReLU and pooling.

    Args:
        nodes: Takes the nodes.
        convolution: What to compute; its tensors are to be among those of the graph.
        maps: What to compute it of.

    Returns:
        The new maps.
    """
    nodes.scope = convolution.name
    products = _products(nodes, convolution, maps.gather(nodes, *convolution.windows()))
    block, row_of = convolution.block, convolution.row_of()
    each = convolution.outputs // block * convolution.tiles  # rows: a pixel of every tile
    if convolution.pooled:
        # The four outputs that one pooled output is the greatest of stand side by side; to reduce
        # an axis in the middle is four times as fast as the first one.
        side = TILE // _POOL
        back = _transforms().tile.reshape(side, _POOL, side, _POOL, _PLACES).swapaxes(1, 2)
        value = _changed_back(nodes, back.reshape(TILE * TILE, _PLACES), products)
        value = nodes.add("Reshape", value, nodes.integers(side * side, _POOL * _POOL, -1))
        value = nodes.add("ReduceMax", value, axes=[1], keepdims=0)
        rows = side * side * each
        value = nodes.add("Reshape", value, nodes.integers(rows, -1, block))
        return ChannelBlocks.with_zeros(nodes, value, rows, block, row_of)
    # A seventeenth pixel, of zeros, stands for what lies outside: to append them costs a copy.
    back = np.append(_transforms().tile, np.zeros((1, _PLACES)), axis=0)
    rows = len(back) * each
    value = _changed_back(nodes, back, products)
    value = nodes.add("Reshape", value, nodes.integers(rows, -1, block))
    return ChannelBlocks(value, rows, block, row_of, zeros=rows - each)


def _products(nodes: NodeList, convolution: Convolution, windows: str) -> str:
    """Bring windows, [36, blocks, tiles, N, block], into the domain, and multiply by the kernels.

    As a convolution of 1x1 in 36 groups they take a fifth to a third less than as MatMul, which
    repacks the right matrix of each product (docs/performance.md).
    """
    windows = nodes.add("Reshape", windows, nodes.integers(_PLACES, -1))
    windows = nodes.add("MatMul", nodes.constant(_single(_transforms().window)), windows)
    windows = nodes.add("Reshape", windows, nodes.integers(1, _PLACES * convolution.inputs, 1, -1))
    products = nodes.add(
        "Conv",
        windows,
        f"{convolution.name}_winograd",
        f"{convolution.name}_bias",
        domain=BLOCKED,
        kernel_shape=[1, 1],
        group=_PLACES,
    )
    return nodes.add("Reshape", products, nodes.integers(_PLACES, -1))


def _changed_back(nodes: NodeList, back: NDArray[np.floating[Any]], products: str) -> str:
    """Change products into outputs with their ReLU, which onnxruntime makes one step with Gemm."""
    return nodes.add("Relu", nodes.add("Gemm", nodes.constant(_single(back)), products))


def _single(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Round to float32; of B' and A' nothing is lost by it."""
    return values.astype(np.float32)
