"""Explanations of images of a batch that has been run: which classes, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final

import numpy as np

from app.records import Ask, Evidence, Numbers, Probabilities, Seen
from app.serving.batching.costs import CostTracker, RunCost

MOST: Final = 20
"""Classes that one request may have explained. Each costs a VGG-16 on a CPU 1 % of a run or less."""


class ExplainingCost:
    """The predicted seconds of explanations, corrected by each of them."""

    def __init__(self, cost: RunCost | None) -> None:
        """Start from the cost measured at warm-up; None if nothing can be explained."""
        self._cost = CostTracker(cost) if cost else None

    def __call__(self, classes: int, runs: int = 1) -> float:
        """Return the seconds to explain so many classes, of images in so many batches at most.

        The number of classes is as `BatchPolicy.asked` counts them.
        """
        batches = min(runs, classes)
        if self._cost is None or not batches:
            return 0.0
        return batches * self._cost(classes / batches)

    def observe(self, classes: int, seconds: float) -> None:
        """Learn from an explanation."""
        if self._cost is not None:
            self._cost.observe(classes, seconds)


@dataclass(frozen=True, slots=True)
class Questions:
    """What `Explainer.explain` is asked about images of one batch: one row for a class of an image.

    So nobody pays for another image about which more is asked.

    Attributes:
        rows: int64 [m].
        classes: int64 [m, 1].
        against: int64 [m, 1].
        ends: Of each image, the first row after its own.
    """

    rows: Numbers
    classes: Numbers
    against: Numbers
    ends: tuple[int, ...]

    def answer(self, number: int, evidence: Evidence, seconds: float) -> Seen:
        """Return what is seen in one of the images; the arrays are its own."""
        own = slice(self.ends[number - 1] if number else 0, self.ends[number])
        cells = evidence.cells[own, 0].copy() if evidence.cells is not None else None
        return Seen(self.classes[own, 0], evidence.maps[own, 0].copy(), cells, seconds)


def questions_of(asks: Sequence[tuple[int, Ask, Probabilities]]) -> Questions:
    """Put the questions about several images into arrays; each image with its place in the batch."""
    found = [_classes(ask, probabilities) for _, ask, probabilities in asks]
    rows = [place for (place, _, _), classes in zip(asks, found, strict=True) for _ in classes]
    against = [
        ask.against for (_, ask, _), classes in zip(asks, found, strict=True) for _ in classes
    ]
    return Questions(
        np.array(rows, np.int64),
        np.array([*chain(*found)], np.int64)[:, np.newaxis],
        np.array(against, np.int64)[:, np.newaxis],
        tuple(accumulate(map(len, found))),
    )


def _classes(ask: Ask, probabilities: Probabilities) -> list[int]:
    """Return the classes of a question, the most probable first; equal ones by their index."""
    best: list[int] = np.argsort(-probabilities, kind="stable")[: ask.best].tolist()
    return list(dict.fromkeys([*best, *ask.classes]))
