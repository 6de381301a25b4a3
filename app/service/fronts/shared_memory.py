"""The memory that one front process shares with the owner: states of queues, and slots for images.

It has no name in the file system, so nothing is left of it once both processes have ended, and its
pages take up memory only once they are used.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.records import Pixels, Probabilities

_PAGE: Final = 4096
_FIELDS: Final = 4  # per model
_HEAD: Final = 8  # bytes before them
_SENTENCE: Final = 4000
"""Bytes of the longest sentence of an error."""
_MOST_COMING: Final = 1_000_000  # more than any front has


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the memory, the same for both sides.

    Attributes:
        crops: Side of each model's input in pixels.
        classes: Classes of each model.
        slots: Images that fit in at once.
    """

    crops: Sequence[int]
    classes: Sequence[int]
    slots: int

    @property
    def state_bytes(self) -> int:
        """Return the bytes of the states, in whole pages, so that what follows is aligned."""
        return -(-(_HEAD + 8 * _FIELDS * len(self.crops)) // _PAGE) * _PAGE

    @property
    def row(self) -> int:
        """Return the floats of a slot: a row of any model, or the sentence of an error."""
        return max(_SENTENCE // 4, *self.classes)

    @property
    def size(self) -> int:
        """Return all bytes."""
        return self.state_bytes + self.slots * (4 * self.row + 3 * max(self.crops) ** 2)


def allocate(layout: Layout) -> int:
    """Return a descriptor of new memory (memfd_create(2)); Linux only."""
    descriptor = os.memfd_create("vgg-front")
    os.ftruncate(descriptor, layout.size)
    return descriptor


class SharedMemory:
    """The memory as either side maps it.

    Each number of the states is 8 aligned bytes, which processors store and load as a whole. Only
    one side writes it; the other may see it some milliseconds late.

    Attributes:
        updated_at: [1], by the owner: when the states were last written, on `time.monotonic`.
        next_start: [models], by the owner: when an image that arrives now would begin to run.
        latest_start: [models], by the owner: the same with a safety margin.
        usable: [models], by the owner: share of the lanes that work, 0 to 1.
        coming: [models], by the front: images that were admitted and are not submitted yet.
        rows: float32 [slots, row of the layout], by the owner.
    """

    def __init__(self, descriptor: int, layout: Layout) -> None:
        memory = mmap.mmap(descriptor, layout.size)
        models = len(layout.crops)
        self.updated_at = np.frombuffer(memory, np.float64, 1)
        fields = np.frombuffer(memory, np.float64, _FIELDS * models, _HEAD)
        states = fields.reshape(_FIELDS, models)
        self.next_start, self.latest_start, self.usable, self.coming = states
        rows = np.frombuffer(memory, np.float32, layout.slots * layout.row, layout.state_bytes)
        self.rows = rows.reshape(layout.slots, layout.row)
        self._classes = layout.classes
        pixels = np.frombuffer(memory, np.uint8, offset=layout.state_bytes + rows.nbytes)
        slots = pixels.reshape(layout.slots, -1)
        self._pixels = [
            [slot[: 3 * crop**2].reshape(crop, crop, 3) for slot in slots] for crop in layout.crops
        ]

    def pixels(self, model: int, slot: int) -> Pixels:
        """Return a slot's memory for an image of a model: uint8 [crop, crop, 3]."""
        return self._pixels[model][slot]

    def row(self, model: int, slot: int) -> Probabilities:
        """Return a slot's memory for the probabilities of a model: float32 [classes]."""
        return self.rows[slot, : self._classes[model]]

    def read_coming(self, model: int) -> int:
        """Return the front's `coming`, or 0 if that is no number of images that a front can have."""
        count = float(self.coming[model])
        return int(count) if 0 <= count <= _MOST_COMING else 0
