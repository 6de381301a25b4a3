"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution as a quarter of the multiplications.

A tile, 4x4 outputs of a channel, is computed from a window of 6x6 inputs, which overlaps the next
window by two. Fixed matrices transform windows and kernels into another domain, and products back;
there a convolution is 36 products of matrices, one for each place in the window:

    outputs = A' [ (G kernel G') * (B' window B) ] A,  summed over the input channels

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
It uses the operators that are fastest in onnxruntime on a CPU (docs/performance.md), and maps in
onnxruntime's layout for convolutions (app/graph/channel_blocks.py). Tiles are never put together: the
next layer gathers its windows from them.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

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
"""How many times larger a transformed kernel is."""

_POINTS: Final = (0.0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
"""Points, besides infinity, at which the polynomials behind the algorithm are evaluated.

With the usual 0, 1, -1, 2, -2 rounding errors are twice as large, and at worst three times
(docs/performance.md). These points give exact float32 matrices too."""


class _Transforms(NamedTuple):
    """The transforms of both dimensions at once, each as one matrix, in float64.

    Attributes:
        window: [36, 36], for the pixels of a window: B' x B'.
        kernel: [36, 9], for a 3x3 kernel: G x G.
        tile: [16, 36], from products to the pixels of a tile: A' x A'.
        ones: [36], products from which `tile` makes sixteen ones.
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
        name: Prefix of its nodes and tensors.
        inputs: Input channels, a multiple of `block`.
        outputs: Output channels, a multiple of `block`.
        side: Side of its maps, in pixels; even if it is pooled.
        pooled: Whether 2x2 max-pooling with stride 2 follows.
        block: Channels side by side in memory.
    """

    name: str
    inputs: int
    outputs: int
    side: int
    pooled: bool
    block: int

    @property
    def across(self) -> int:
        """Tiles along a side of its maps."""
        return -(-self.side // TILE)

    def tensors(self, weight: Tensor, bias: Tensor) -> list[tuple[str, Tensor]]:
        """Transform kernels and bias into the domain of the products, in float64: G kernel G'.

        Returns:
            Names and float32 tensors: the kernels, four times as large as `weight`, [36 * outputs,
            inputs, 1, 1], in blocks of inputs by outputs; and the bias of all sixteen outputs of a
            tile before they are transformed back, [36 * outputs].
        """
        # rows: places of a window; columns: places of a kernel
        places = _single(_transforms().kernel @ weight.reshape(-1, _PLACES // GROWTH).T)
        places = places.reshape(-1, self.block, self.inputs // self.block, self.block)
        return [
            (f"{self.name}_winograd", places.transpose(0, 2, 3, 1).reshape(-1, self.inputs, 1, 1)),
            (f"{self.name}_bias", _single(np.outer(_transforms().ones, bias).reshape(-1))),
        ]

    def windows(self) -> tuple[_Numbers, _Numbers]:
        """Return y and x of the pixels of all windows, [36, tiles] each."""
        row, column = np.divmod(np.arange(self.across**2), self.across)
        down, across = np.divmod(np.arange(_PLACES)[:, np.newaxis], _WINDOW)
        return row * TILE + down - 1, column * TILE + across - 1

    def row_of(self) -> _Numbers:
        """Return the row of each block of each pixel; rows are [pixels of a tile, blocks, tiles]."""
        side, tile = self.side, TILE
        if self.pooled:
            side, tile = side // _POOL, tile // _POOL
        blocks = self.outputs // self.block
        block, y, x = np.indices((blocks, side, side))
        pixel = y % tile * tile + x % tile
        found: _Numbers = (pixel * blocks + block) * self.across**2
        found += y // tile * self.across + x // tile
        return found


def transform_back(nodes: NodeList, convolution: Convolution, kernels: str, bias: str) -> None:
    """Add nodes that make the kernels and the bias of a convolution again, NAME_weight and NAME_bias.

    They are for maps of another size, on which it is computed directly. Each kernel is within 1e-6 of
    the largest value in it.

    Args:
        nodes: Of the graph.
        convolution: Which one.
        kernels: Name of the first tensor that `Convolution.tensors` gives.
        bias: Name of the second.
    """
    one, block = convolution, convolution.block
    nodes.scope = one.name
    kernel, ones = _transforms().kernel, _transforms().ones
    places = nodes.add("Reshape", kernels, nodes.integers(_PLACES, -1))
    back = nodes.add("MatMul", nodes.constant(_single(np.linalg.pinv(kernel))), places)
    blocks = 3, 3, one.outputs // block, one.inputs // block, block, block
    back = nodes.add("Reshape", back, nodes.integers(*blocks))
    back = nodes.add("Transpose", back, perm=[2, 5, 3, 4, 0, 1])
    shape = nodes.integers(one.outputs, one.inputs, 3, 3)
    nodes.add("Reshape", back, shape, result=f"{one.name}_weight")
    sums = nodes.add("Reshape", bias, nodes.integers(_PLACES, -1))
    mean = nodes.constant(_single(ones[np.newaxis] / (ones @ ones)))
    mean = nodes.add("MatMul", mean, sums)
    nodes.add("Reshape", mean, nodes.integers(-1), result=f"{one.name}_bias")


def before_pooling(nodes: NodeList, convolution: Convolution, value: str) -> ChannelBlocks:
    """Read what the ReLU of a convolution gave, `NAME_relu`, as blocks: all pixels, none pooled."""
    across, block = convolution.across, convolution.block
    blocks, y, x = np.indices((convolution.outputs // block, convolution.side, convolution.side))
    down, right = y % TILE, x % TILE
    pixel, pixels = down * TILE + right, TILE * TILE + 1
    if convolution.pooled:
        pixel, pixels = (down // _POOL * _POOL + right // _POOL) * _POOL**2, TILE * TILE
        pixel = pixel + down % _POOL * _POOL + right % _POOL
    tile = y // TILE * across + x // TILE
    row_of = (pixel * len(blocks) + blocks) * across**2 + tile
    rows = pixels * len(blocks) * across**2
    value = nodes.add("Reshape", value, nodes.integers(rows, -1, block))
    return ChannelBlocks(value, rows, block, row_of, zeros=-1)  # nothing outside is read


def convolve(nodes: NodeList, convolution: Convolution, maps: ChannelBlocks) -> ChannelBlocks:
    """Add a convolution, whose tensors have to be among those of the graph, its ReLU and pooling."""
    nodes.scope = convolution.name
    products = _products(nodes, convolution, maps.gather(nodes, *convolution.windows()))
    block, row_of = convolution.block, convolution.row_of()
    each = convolution.outputs // block * convolution.across**2  # rows: a pixel of every tile
    if convolution.pooled:
        # The four outputs that are pooled into one are side by side; to reduce an axis in the middle
        # is four times as fast as to reduce the first one.
        side = TILE // _POOL
        back = _transforms().tile.reshape(side, _POOL, side, _POOL, _PLACES).swapaxes(1, 2)
        value = _transformed_back(nodes, back.reshape(TILE * TILE, _PLACES), products)
        value = nodes.add("Reshape", value, nodes.integers(side * side, _POOL * _POOL, -1))
        value = nodes.add("ReduceMax", value, axes=[1], keepdims=0)
        rows = side * side * each
    else:
        # A seventeenth pixel, all zeros, stands for everything outside; appending it would cost a copy.
        back = np.append(_transforms().tile, np.zeros((1, _PLACES)), axis=0)
        rows = len(back) * each
        value = _transformed_back(nodes, back, products)
    value = nodes.add("Reshape", value, nodes.integers(rows, -1, block))
    if convolution.pooled:
        return ChannelBlocks.with_zeros(nodes, value, rows, block, row_of)
    return ChannelBlocks(value, rows, block, row_of, zeros=rows - each)


def _products(nodes: NodeList, convolution: Convolution, windows: str) -> str:
    """Transform windows, [36, blocks, tiles, N, block], and multiply them by the kernels.

    A 1x1 convolution in 36 groups takes a fifth to a third less time than MatMul, which repacks the
    right matrix of each product (docs/performance.md).
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


def _transformed_back(nodes: NodeList, back: NDArray[np.floating[Any]], products: str) -> str:
    """Transform products into outputs, with their ReLU, which onnxruntime fuses with Gemm."""
    sums = nodes.add("Gemm", nodes.constant(_single(back)), products)
    return nodes.add("Relu", sums, result=f"{nodes.scope}_relu")


def _single(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Round to float32, in which B' and A' are exact."""
    return values.astype(np.float32)
