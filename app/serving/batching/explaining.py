"""Explanations of images of a batch that has been run: which classes, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """What `Explainer.explain` is asked about images of one batch.

    Attributes:
        rows: int64 [m].
        classes: int64 [m, k].
        against: int64 [m, k].
        counts: How many of the k classes each image really asks for; the others repeat its first.
        cells: Whether each image asks for the parts of its logits.
    """

    rows: Numbers
    classes: Numbers
    against: Numbers
    counts: tuple[int, ...]
    cells: tuple[bool, ...]

    def answer(self, number: int, evidence: Evidence, seconds: float) -> Seen:
        """Return what is seen in one of the images; the arrays are its own."""
        count = self.counts[number]
        cells = evidence.cells[number, :count].copy() if evidence.cells is not None else None
        return Seen(
            self.classes[number, :count],
            evidence.maps[number, :count].copy(),
            cells if self.cells[number] else None,
            seconds,
        )


def questions_of(asks: Sequence[tuple[int, Ask, Probabilities]]) -> Questions:
    """Put the questions about several images into arrays; each image with its place in the batch."""
    found = [_classes(ask, probabilities) for _, ask, probabilities in asks]
    most = max(map(len, found))
    classes = np.array([[*one, *one[:1] * (most - len(one))] for one in found], np.int64)
    against = np.repeat(np.array([[ask.against] for _, ask, _ in asks], np.int64), most, axis=1)
    rows = np.array([row for row, _, _ in asks], np.int64)
    cells = tuple(ask.cells for _, ask, _ in asks)
    return Questions(rows, classes, against, tuple(map(len, found)), cells)


def _classes(ask: Ask, probabilities: Probabilities) -> list[int]:
    """Return the classes of a question, the most probable first; equal ones by their index."""
    best: list[int] = np.argsort(-probabilities, kind="stable")[: ask.best].tolist()
    return list(dict.fromkeys([*best, *ask.classes]))
