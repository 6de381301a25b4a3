"""Maps in blocks of channels: the layout of onnxruntime's convolutions on a CPU.

As many channels of a pixel are side by side as fit into a register of the processor. Blocks of that
size can be copied into any order, and their products need no repacking.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.graph.node_list import NodeList

BLOCKED: Final = "com.microsoft.nchwc"
"""The domain of onnxruntime's operators for this layout, which its optimizer puts into graphs. The
size of a block depends on the processor."""


@dataclass(frozen=True, slots=True)
class ChannelBlocks:
    """Square maps of a batch in one tensor: each row is one block of channels of one pixel.

    Attributes:
        value: Name of the tensor, float32 [rows, N, block].
        row_of: The row of each block of each pixel, [blocks, side, side].
        zeros: The row of zeros, which stands for all pixels outside.
    """

    value: str
    rows: int
    block: int
    row_of: NDArray[np.int64]
    zeros: int

    @classmethod
    def of_maps(
        cls, nodes: NodeList, maps: str, channels: int, side: int, block: int
    ) -> "ChannelBlocks":
        """Turn maps, float32 [N, channels, side, side], into blocks."""
        nodes.scope = "blocks"
        shape = channels // block, side, side
        rows = channels // block * side * side
        value = nodes.add("ReorderInput", maps, domain=BLOCKED)
        value = nodes.add("Reshape", value, nodes.integers(-1, rows, block))
        value = nodes.add("Transpose", value, perm=[1, 0, 2])
        return cls.with_zeros(nodes, value, rows, block, np.arange(rows).reshape(shape))

    @classmethod
    def with_zeros(
        cls, nodes: NodeList, value: str, rows: int, block: int, row_of: NDArray[np.int64]
    ) -> "ChannelBlocks":
        """Append a row of zeros to rows that have none."""
        value = nodes.add("Pad", value, nodes.integers(0, 0, 0, 1, 0, 0))
        return cls(value, rows + 1, block, row_of, zeros=rows)

    def gather(self, nodes: NodeList, y: NDArray[np.int64], x: NDArray[np.int64]) -> str:
        """Copy the pixels in rows `y` and columns `x`, [.., pixels] both; outside the maps are zeros.

        Returns:
            float32 [.., blocks, pixels, N, block].
        """
        last = self.row_of.shape[-1] - 1
        inside = (y == np.clip(y, 0, last)) & (x == np.clip(x, 0, last))
        within = self.row_of[:, np.clip(y, 0, last), np.clip(x, 0, last)]
        rows = np.moveaxis(np.where(inside, within, self.zeros), 0, -2)
        return nodes.add("Gather", self.value, nodes.constant(rows.astype(np.int32)), axis=0)

    def to_maps(self, nodes: NodeList) -> str:
        """Turn the blocks into maps, float32 [N, channels, side, side]."""
        nodes.scope = "maps"
        blocks, *sides = self.row_of.shape
        maps = self.gather(nodes, *np.indices(sides).reshape(2, -1))
        maps = nodes.add("Transpose", maps, perm=[2, 0, 3, 1])
        return nodes.add("Reshape", maps, nodes.integers(-1, blocks * self.block, *sides))
