"""The convolutions of a VGG through Winograd's domain, and how their maps lie meanwhile.

What a convolution has in that domain is more than twice as large as its maps, and onnxruntime
writes and reads it several times: it is fast where that stays in the processor's cache.

*Large maps* are computed image by image, in strips of a few rows of tiles: the *stem*, a graph of
its own that takes one image. Executed from the end backwards, a strip is computed just before the
next layer needs it. *Small maps* of a whole batch are stacked, one image below the other with rows of
zeros between them, so that the large matrices of these layers are read once a batch.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from app.conv_plan import ConvPlan, is_large
from app.node_list import NodeList
from app.vgg import LayerRow, VggConfig
from app.winograd import TILE, Convolution, convolve

_Maps: TypeAlias = Callable[[int, int], str]
"""Gives the rows of an image's maps from the first up to the one before the second."""


def add_stem(nodes: NodeList, config: VggConfig, plan: ConvPlan, pixels: str, result: str) -> None:
    """Add all layers with large maps.

    Args:
        nodes: Takes the nodes.
        config: The network.
        plan: Says which layers are lowered; its `stacked` does not matter here.
        pixels: float32 [1, 3, side, side], normalised.
        result: To be the name of the last pooled maps, float32 [1, channels, rows, columns].
    """
    steps = _steps([row for row in config.layers() if is_large(row)])
    maps: _Maps = _Strips(nodes, [(0, config.side, pixels)]).rows
    for row, pooled in steps:
        nodes.scope = row.name
        if row.name in plan.strips:
            maps = _in_strips(nodes, row, maps, pooled=pooled, tile_rows=plan.strips[row.name])
        else:
            maps = _whole(nodes, row, maps, pooled=pooled)
    last = steps[-1][0].output_shape[-1]
    side = last // 2 if steps[-1][1] else last
    nodes.scope = "maps"
    nodes.add("Identity", maps(0, side), result=result)


def add_stack(nodes: NodeList, config: VggConfig, maps: str) -> str:
    """Add all convolutions with small maps, lowered.

    Args:
        nodes: Takes the nodes.
        config: The network; `can_stack`.
        maps: float32 [N, channels, rows, columns], what the large layers gave.

    Returns:
        float32 [N, channels, rows, columns]: the last pooled maps.
    """
    steps = _steps([r for r in config.layers() if r.kind != "fully connected" and not is_large(r)])
    side = steps[0][0].output_shape[-1]
    step = TILE * 2 ** (sum(pooled for _, pooled in steps) - 1)
    pitch = (side // step + 1) * step  # rows from one image to the next; there is a row of zeros
    nodes.scope = "stack"
    value = nodes.add("Pad", maps, nodes.integers(0, 0, 0, 0, 0, 0, pitch - side, 0))
    value = nodes.add("Transpose", value, perm=[1, 0, 2, 3])
    channels = steps[0][0].weight_shape[1]
    for number, (row, pooled) in enumerate(steps):
        nodes.scope = row.name
        layer = _convolution(row, pooled=pooled)
        value = convolve(nodes, layer, value, above=1, below=1)
        channels = row.weight_shape[0]
        if pooled:
            side, pitch = side // 2, pitch // 2
        value = nodes.add("Reshape", value, nodes.integers(channels, -1, pitch, side))
        if number + 1 < len(steps):
            valid = (np.arange(pitch) < side).astype(np.float32)
            mask = np.repeat(valid[:, np.newaxis], side, axis=1)
            value = nodes.add("Mul", value, nodes.constant(mask))
    nodes.scope = "stack"
    rows = [nodes.integers(0), nodes.integers(side), nodes.integers(2)]
    value = nodes.add("Slice", value, *rows)
    return nodes.add("Transpose", value, perm=[1, 0, 2, 3])


def _steps(rows: Sequence[LayerRow]) -> list[tuple[LayerRow, bool]]:
    """Pair each convolution with whether pooling follows it."""
    following = [*rows[1:], None]
    return [
        (row, after is not None and after.kind == "max-pooling")
        for row, after in zip(rows, following, strict=True)
        if row.kind == "convolution"
    ]


def _convolution(row: LayerRow, *, pooled: bool) -> Convolution:
    return Convolution(
        weight=f"{row.name}_winograd",
        bias=f"{row.name}_bias",
        inputs=row.weight_shape[1],
        outputs=row.weight_shape[0],
        width=row.output_shape[-1],
        pooled=pooled,
    )


class _Strips:
    """Maps in strips from top to bottom, each (first row, row after the last, value)."""

    def __init__(self, nodes: NodeList, strips: list[tuple[int, int, str]]) -> None:
        self._nodes = nodes
        self._strips = strips

    def rows(self, first: int, end: int) -> str:
        """Put rows together from the strips that hold them."""
        parts: list[str] = []
        for top, bottom, value in self._strips:
            start, stop = max(first, top), min(end, bottom)
            if (start, stop) == (top, bottom):
                parts.append(value)
            elif start < stop:
                ends = (start - top, stop - top, 2)
                cut = [self._nodes.integers(number) for number in ends]
                parts.append(self._nodes.add("Slice", value, *cut))
        return parts[0] if len(parts) == 1 else self._nodes.add("Concat", *parts, axis=2)


def _in_strips(
    nodes: NodeList, row: LayerRow, maps: _Maps, *, pooled: bool, tile_rows: int
) -> _Maps:
    """Lower a layer, strip by strip."""
    layer = _convolution(row, pooled=pooled)
    height = row.output_shape[-1]
    shrunk = 2 if pooled else 1
    strips: list[tuple[int, int, str]] = []
    for top in range(0, height, tile_rows * TILE):
        tiled = min(tile_rows * TILE, -(-(height - top) // TILE) * TILE)  # whole tiles
        bottom = min(top + tiled, height)
        first, end = max(top - 1, 0), min(top + tiled + 1, height)
        above, below = first - (top - 1), top + tiled + 1 - end
        value = convolve(nodes, layer, maps(first, end), above=above, below=below)
        if bottom < top + tiled:
            kept = (bottom - top) // shrunk
            ends = [nodes.integers(number) for number in (0, kept, 2)]
            value = nodes.add("Slice", value, *ends)
        strips.append((top // shrunk, bottom // shrunk, value))
    return _Strips(nodes, strips).rows


def _whole(nodes: NodeList, row: LayerRow, maps: _Maps, *, pooled: bool) -> _Maps:
    """Compute a layer in one piece, as onnxruntime does it."""
    height = row.output_shape[-1]
    value = _plain(nodes, row, maps(0, height), [row.kernel // 2] * 4)
    if pooled:
        value = nodes.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        height //= 2
    return _Strips(nodes, [(0, height, value)]).rows


def _plain(nodes: NodeList, row: LayerRow, value: str, pads: list[int]) -> str:
    names = (f"{row.name}_weight", f"{row.name}_bias")
    sums = nodes.add("Conv", value, *names, kernel_shape=[row.kernel] * 2, pads=pads)
    return nodes.add("Relu", sums)
