"""Maps as rows of pixels: all channels of a pixel side by side, the pixels in any order."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.node_list import NodeList


@dataclass(frozen=True, slots=True)
class PixelRows:
    """The square maps of a batch, one row for each pixel, and a row of zeros.

    Attributes:
        value: Name of them, float32 [rows, N, channels].
        places: int64 [side, side]: the row of each pixel.
        zeros: The row of zeros, which stands for all pixels outside.
    """

    value: str
    places: NDArray[np.int64]
    zeros: int

    @classmethod
    def of_maps(cls, nodes: NodeList, maps: str, channels: int, side: int) -> Self:
        """Turn maps, float32 [N, channels, side, side], into rows."""
        nodes.scope = "rows"
        rows = nodes.add("Transpose", maps, perm=[2, 3, 0, 1])
        rows = nodes.add("Reshape", rows, nodes.integers(side**2, -1, channels))
        return cls.with_zeros(nodes, rows, np.arange(side**2).reshape(side, side), side**2)

    @classmethod
    def with_zeros(cls, nodes: NodeList, rows: str, places: NDArray[np.int64], number: int) -> Self:
        """Append the row of zeros to this number of rows, float32 [number, N, channels]."""
        rows = nodes.add("Pad", rows, nodes.integers(0, 0, 0, 1, 0, 0))
        return cls(rows, places, zeros=number)

    def gather(self, nodes: NodeList, y: NDArray[np.int64], x: NDArray[np.int64]) -> str:
        """Copy pixels, which is fast: of each the row is copied in one go.

        Args:
            nodes: Takes the nodes.
            y: Which ones, in any shape; those outside of the maps are zeros.
            x: The same shape.

        Returns:
            float32 [*shape, N, channels].
        """
        side = len(self.places)
        inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
        within = self.places[np.clip(y, 0, side - 1), np.clip(x, 0, side - 1)]
        rows = nodes.constant(np.where(inside, within, self.zeros))
        return nodes.add("Gather", self.value, rows, axis=0)

    def to_maps(self, nodes: NodeList, channels: int) -> str:
        """Turn rows into maps, float32 [N, channels, side, side]."""
        nodes.scope = "maps"
        side = len(self.places)
        maps = self.gather(nodes, *np.indices(self.places.shape).reshape(2, -1))
        maps = nodes.add("Transpose", maps, perm=[1, 2, 0])
        return nodes.add("Reshape", maps, nodes.integers(-1, channels, side, side))
