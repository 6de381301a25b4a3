"""The memory that one front process shares with the owner: states of queues, and slots for images.

It has no name in the file system, so nothing is left of it once both processes have ended, and its
pages take up memory only once they are used.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from app.records import Ask, Pixels, Probabilities, Seen
from app.serving.batching.explaining import MOST

_PAGE: Final = 4096
_FIELDS: Final = 5  # per model
_HEAD: Final = 8  # bytes before them
_SENTENCE: Final = 4000
"""Bytes of the longest sentence of an error."""
_MOST_COMING: Final = 1_000_000  # more than any front has
_ASK: Final = 4
"""Numbers of an ask before its classes: how many best, how many classes, against which, cells."""
_SEEN: Final = 4
"""Numbers of an explanation before its arrays: classes, sides of map and of cells or 0, seconds."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the memory, the same for both sides.

    Attributes:
        crops: Side of each model's input in pixels.
        classes: Classes of each model.
        slots: Images that fit in at once.
        map_floats: Floats of a map and its cells, of the model with the most; 0 if none explains.
    """

    crops: Sequence[int]
    classes: Sequence[int]
    slots: int
    map_floats: int = 0

    @property
    def state_bytes(self) -> int:
        """Return the bytes of the states, in whole pages, so that what follows is aligned."""
        return -(-(_HEAD + 8 * _FIELDS * len(self.crops)) // _PAGE) * _PAGE

    @property
    def row(self) -> int:
        """Return the floats of a slot: a row of any model, or the sentence of an error."""
        return max(_SENTENCE // 4, *self.classes)

    @property
    def explanation(self) -> int:
        """Return the floats of the longest explanation: what precedes its arrays, and these."""
        return _SEEN + MOST * (1 + self.map_floats)

    @property
    def size(self) -> int:
        """Return all bytes."""
        numbers = self.row + self.explanation + _ASK + MOST
        return self.state_bytes + self.slots * (4 * numbers + 3 * max(self.crops) ** 2)


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
        asked: [models], by the front: classes that are to be explained about these.
        rows: float32 [slots, row of the layout], by the owner.
    """

    def __init__(self, descriptor: int, layout: Layout) -> None:
        memory = mmap.mmap(descriptor, layout.size)
        models = len(layout.crops)
        self.updated_at = np.frombuffer(memory, np.float64, 1)
        fields = np.frombuffer(memory, np.float64, _FIELDS * models, _HEAD)
        states = fields.reshape(_FIELDS, models)
        self.next_start, self.latest_start, self.usable, self.coming, self.asked = states
        at = layout.state_bytes
        self.rows = np.frombuffer(memory, np.float32, layout.slots * layout.row, at)
        self.rows = self.rows.reshape(layout.slots, layout.row)
        at += self.rows.nbytes
        seen = np.frombuffer(memory, np.float32, layout.slots * layout.explanation, at)
        self._seen = seen.reshape(layout.slots, layout.explanation)
        at += seen.nbytes
        asks = np.frombuffer(memory, np.int32, layout.slots * (_ASK + MOST), at)
        self._asks = asks.reshape(layout.slots, _ASK + MOST)
        self._classes = layout.classes
        pixels = np.frombuffer(memory, np.uint8, offset=at + asks.nbytes)
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

    def write_ask(self, slot: int, ask: Ask) -> None:
        """Write what is to be explained about the image of a slot, for the owner."""
        numbers = ask.best, len(ask.classes), ask.against, ask.cells, *ask.classes
        self._asks[slot, : len(numbers)] = numbers

    def read_ask(self, model: int, slot: int) -> Ask:
        """Return what a front wrote.

        Raises:
            ValueError: If that cannot be asked of the model.
        """
        best, count, against, cells, *others = self._asks[slot].tolist()
        most = self._classes[model]
        ask = Ask(best, tuple(others[: max(0, count)]), against, bool(cells))
        if best < 1 or not 0 <= count <= MOST - best or against not in range(-1, most):
            raise ValueError("a front asks for more than can be explained")
        if not all(number in range(most) for number in ask.classes):
            raise ValueError("a front asks for a class that there is not")
        return ask

    def write_seen(self, slot: int, seen: Seen) -> None:
        """Write the explanation of the image of a slot, for the front."""
        count, side, _ = seen.maps.shape
        cells = np.empty((count, 0, 0)) if seen.cells is None else seen.cells
        arrays = seen.classes, seen.maps.ravel(), cells.ravel()
        numbers = np.concatenate([[count, side, cells.shape[1], seen.seconds], *arrays])
        self._seen[slot, : len(numbers)] = numbers

    def read_seen(self, slot: int) -> Seen:
        """Return a copy of the explanation that the owner wrote."""
        numbers = self._seen[slot]
        count, side, cells = map(int, numbers[: _SEEN - 1])
        ends = np.cumsum([_SEEN, count, count * side**2, count * cells**2])
        classes, maps, parts = (numbers[a:b].copy() for a, b in pairwise(ends))
        return Seen(
            classes.astype(np.int64),
            maps.reshape(count, side, side),
            parts.reshape(count, cells, cells) if cells else None,
            float(numbers[_SEEN - 1]),
        )

    def read_coming(self, model: int) -> tuple[int, int]:
        """Return the front's `coming` and `asked`, 0 for what is no number that a front can have."""
        return _sane(float(self.coming[model])), _sane(float(self.asked[model]))


def _sane(count: float) -> int:
    return int(count) if 0 <= count <= _MOST_COMING else 0
