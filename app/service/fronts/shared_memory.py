"""The memory that one front process shares with the owner of the models: a board and slots.

It has no name in the file system, so nothing is left of it once both have ended, and its pages
take memory only once they were used.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.graph.vgg import CLASSES
from app.records import Pixels, Probabilities

_PAGE: Final = 4096
_FIELDS: Final = 4  # of a model on the board
_BEAT: Final = 8  # bytes before them
_MOST: Final = 1_000_000  # images that no front has


@dataclass(frozen=True, slots=True)
class Shape:
    """How a block is laid out; both sides have to agree.

    Attributes:
        crops: Sides of the models' input, in their order.
        slots: Images that may be in it at a time.
    """

    crops: Sequence[int]
    slots: int

    @property
    def board_bytes(self) -> int:
        """Whole pages, so that what follows is aligned."""
        return -(-(_BEAT + 8 * _FIELDS * len(self.crops)) // _PAGE) * _PAGE

    @property
    def size(self) -> int:
        """In bytes."""
        return self.board_bytes + self.slots * (4 * CLASSES + 3 * max(self.crops) ** 2)


def make_block(shape: Shape) -> int:
    """Return a descriptor of new memory for a block; Linux only.

    Source:
        memfd_create(2).
    """
    descriptor = os.memfd_create("vgg-front")
    os.ftruncate(descriptor, shape.size)
    return descriptor


class Block:
    """A block, seen from either side.

    A number of the board is 8 aligned bytes, which processors store and load whole. Each is
    written by one side only; the other may see it some milliseconds late.

    Attributes:
        beat: [1], written by the owner: when the board was last written, on `time.monotonic`.
        free_at: [models], by the owner: when an image that came now would begin to run.
        late_at: The same at the latest.
        usable: [models], by the owner: parts of the lanes that answer, 0 to 1.
        coming: [models], by the front: images that are accepted and not submitted yet.
        rows: float32 [slots, 1000], by the owner.
    """

    def __init__(self, descriptor: int, shape: Shape) -> None:
        """Map the memory."""
        memory = mmap.mmap(descriptor, shape.size)
        models = len(shape.crops)
        self.beat = np.frombuffer(memory, np.float64, 1)
        fields = np.frombuffer(memory, np.float64, _FIELDS * models, _BEAT)
        self.free_at, self.late_at, self.usable, self.coming = fields.reshape(_FIELDS, models)
        rows = np.frombuffer(memory, np.float32, shape.slots * CLASSES, shape.board_bytes)
        self.rows = rows.reshape(shape.slots, CLASSES)
        pixels = np.frombuffer(memory, np.uint8, offset=shape.board_bytes + rows.nbytes)
        slots = pixels.reshape(shape.slots, -1)
        self._pixels = [
            [slot[: 3 * crop**2].reshape(crop, crop, 3) for slot in slots] for crop in shape.crops
        ]

    def pixels(self, model: int, slot: int) -> Pixels:
        """Return a slot's place for an image of a model: uint8 [crop, crop, 3]."""
        return self._pixels[model][slot]

    def count_coming(self, model: int) -> int:
        """Return what a front says of its images of a model, if it can be so."""
        count = float(self.coming[model])
        return int(count) if 0 <= count <= _MOST else 0

    def row(self, slot: int) -> Probabilities:
        """Return what the owner has put into a slot, to keep."""
        row: Probabilities = self.rows[slot].copy()
        return row
