"""The seconds of a run by batch size, measured at warm-up and corrected by every run.

The policy of a queue is here too, because all of its promises rest on that cost.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.records import Ask

RUNS_AHEAD: Final = 3
"""Runs whose images may be decoded: the current one, the next one, and the one after that."""
_MEMORY: Final = 0.9
"""Weight of the past in the correction: about the last ten runs count."""
_SLOWEST: Final = 20.0
_FASTEST: Final = 0.5
_MOST_DOUBT: Final = 0.5
"""Bounds of what is learned, as parts of the cost."""


@dataclass(frozen=True, slots=True)
class RunCost:
    """cost(n) = per_image * n + per_run, in seconds."""

    per_image: float
    per_run: float
    measured: tuple[tuple[int, float], ...]  # each size and the least seconds of its runs

    @classmethod
    def fit(cls, measured: dict[int, float]) -> "RunCost":
        """Fit the line with the smallest relative errors, neither part of it below zero."""
        points = tuple(sorted(measured.items()))
        sizes = np.array([size for size, _ in points], np.float64)
        seconds = np.array([cost for _, cost in points], np.float64)
        slope = float(np.median(seconds / sizes))
        base = 0.0
        if len(points) > 1:
            terms = np.stack([sizes, np.ones_like(sizes)], axis=1) / seconds[:, None]
            slope, base = np.linalg.lstsq(terms, np.ones_like(seconds), rcond=None)[0].tolist()
            if base < 0 or slope < 0:
                slope, base = max(float(np.median(seconds / sizes)), 0.0), 0.0
        return cls(per_image=slope, per_run=base, measured=points)

    def __call__(self, size: float) -> float:
        """Return the seconds of a run of a batch of this size."""
        return self.per_image * size + self.per_run


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How batches are formed, and when an image is refused.

    Attributes:
        sizes: The only batch sizes that ever run, ascending.
        cost: Seconds of a run by its batch size.
        max_queue_delay: Seconds that a batch may wait to fill, counted from the arrival of its
            oldest image, so that a batch that formed while the device was busy starts at once.
        queue_budget: Longest predicted wait (seconds) with which an image is admitted.
        stuck_after: Seconds after which a run counts as hung.
        explaining: Seconds of an explanation by its number of classes, those of all images of a
            batch; None if the model cannot be explained.
        cells_factor: How many times as long it takes with the parts of the logits.
    """

    sizes: tuple[int, ...]
    cost: RunCost
    max_queue_delay: float = 0.0
    queue_budget: float = 2.0
    stuck_after: float = 60.0
    explaining: RunCost | None = None
    cells_factor: float = 1.0

    def asked(self, ask: Ask | None) -> int:
        """Return how many classes are to be explained; with cells one counts as what it costs."""
        if ask is None:
            return 0
        return math.ceil(ask.most * self.cells_factor) if ask.cells else ask.most

    def padded(self, images: int) -> int:
        """Return the smallest batch size that holds so many images, or else the largest."""
        return next((size for size in self.sizes if size >= images), self.sizes[-1])


class CostTracker:
    """A cost that follows the machine, which decoding and other programs slow down."""

    def __init__(self, cost: RunCost) -> None:
        """Start from the cost measured at warm-up."""
        self.cost = cost
        self._factor = 1.0
        self._spread = 0.0

    def __call__(self, size: float) -> float:
        """Return the seconds that a run of a batch of this size would take now."""
        return self.cost(size) * self._factor

    def observe(self, size: int, seconds: float) -> None:
        """Learn from a run."""
        ratio = min(max(seconds / self.cost(size), _FASTEST), _SLOWEST)
        self._spread = _MEMORY * self._spread + (1 - _MEMORY) * abs(ratio - self._factor)
        self._factor = _MEMORY * self._factor + (1 - _MEMORY) * ratio

    @property
    def doubt(self) -> float:
        """Return by what part a prediction may be too low: 4 mean deviations of recent runs.

        It does not shrink with the number of runs ahead, because slow runs come together.

        Source:
            RFC 6298 (TCP's timeouts): the mean deviation instead of the standard one, and the 4.
        """
        return min(4 * self._spread / self._factor, _MOST_DOUBT)

    def at_most(self, wait: float, size: int) -> float:
        """Return a predicted wait with a safety margin.

        The margin includes the extra time that a run of this size may now take, so that an
        admitted image has its row within the budget plus one run. Zero stays zero: the image
        is run at once, and the cost is learned again.
        """
        if not wait:
            return 0.0
        excess = max(0.0, self(size) * (1 + self.doubt) - self.cost(size))
        return wait * (1 + self.doubt) + excess
