"""How often a model is right, with intervals; its worst classes, and which it takes for which."""

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.evaluation.classes import Classes
from app.records import Numbers, ProbabilityBatch

Z: Final = 1.959963984540054
"""97.5 % quantile of the normal distribution: intervals hold 95 %."""
_LISTED: Final = 20
_LEAST_TO_SUSPECT: Final = 30
"""Photos below which labels never look shuffled."""

Entry: TypeAlias = dict[str, Any]
"""An object of the report."""
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of n photos, with its 95 % interval after Wilson (1927)."""

    value: float
    low: float
    high: float
    n: int

    def holds(self, value: float) -> bool:
        """Return whether a value lies inside the interval."""
        return self.low <= value <= self.high


def share(count: int, n: int, z: float = Z) -> Share:
    """Return count of n, n above 0, with Wilson's interval, which is never outside 0..1."""
    value, extra = count / n, z * z / n
    middle = (value + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(value * (1 - value) / n + extra / (4 * n))
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == n else min(1.0, middle + half)
    return Share(value, low, high, n)


def ranks(rows: ProbabilityBatch, labels: Numbers) -> Numbers:
    """Return at which place each label stands in the answer, from 0; equal ones by class_index.

    Args:
        rows: float32 [N, classes].
        labels: int64 [N].
    """
    own = np.take_along_axis(rows, labels[:, None], axis=1)
    before = np.arange(rows.shape[1]) < labels[:, None]
    places: Numbers = ((rows > own) | ((rows == own) & before)).sum(axis=1, dtype=np.int64)
    return places


def worst_classes(right: Flags, labels: Numbers, classes: Classes) -> list[Entry]:
    """List the 20 classes with the smallest share of right answers, with their intervals."""
    photos = np.bincount(labels, minlength=len(classes))
    hits = np.bincount(labels[right], minlength=len(classes))
    shares = {int(one): share(int(hits[one]), int(photos[one])) for one in np.flatnonzero(photos)}
    worst = sorted(shares.items(), key=lambda item: (item[1].value, item[1].high, item[0]))
    return [
        classes.describe(index) | {"top1": one.value, "low": one.low, "high": one.high, "n": one.n}
        for index, one in worst[:_LISTED]
    ]


def confused_pairs(answers: Numbers, labels: Numbers, classes: Classes) -> list[Entry]:
    """List the 20 most frequent errors: photos of a class that got the answer of another."""
    wrong = answers != labels
    codes, counts = np.unique(labels[wrong] * len(classes) + answers[wrong], return_counts=True)
    photos = np.bincount(labels, minlength=len(classes))
    pairs = []
    for place in np.argsort(-counts, kind="stable")[:_LISTED]:
        label, answer = divmod(int(codes[place]), len(classes))
        count = int(counts[place])
        pairs.append(
            {
                "label": classes.describe(label),
                "answer": classes.describe(answer),
                "count": count,
                "share": count / int(photos[label]),
            }
        )
    return pairs


def baselines(answers: Numbers, labels: Numbers, classes: Classes) -> Entry:
    """Compare the answers with those of models that look at no photo, and say if labels look wrong.

    `relabelled` is the share that is right if each answer is taken for the label that photos with
    this answer most often have: looked up on every second photo, counted on the others. Where it
    is high and top-1 is low, the labels are those of other classes, one by one.
    """
    n = len(labels)
    photos = np.bincount(labels, minlength=len(classes))
    most = int(photos.argmax())
    hits = int((answers == labels).sum())
    right = share(hits, n)
    frequent = int(photos[most]) / n
    dummy = max(frequent, 1 / len(classes))
    renamed = _relabelled(answers, labels, len(classes))
    several = int((photos > 0).sum()) > 1
    by_chance = float(photos @ np.bincount(answers, minlength=len(classes))) / n**2
    # Three standard errors: shuffled labels seem better than chance once in a thousand times.
    shuffled = several and n >= _LEAST_TO_SUSPECT and share(hits, n, 3).low <= by_chance
    permuted = several and n > 1 and renamed.low > max(2 * right.high, frequent)
    sentence = None
    if permuted:
        sentence = (
            "The labels seem to be those of other classes: each answer goes with one label, but"
            " with a wrong one. Check the order of the classes in the labels and in the manifest."
        )
    elif shuffled:
        sentence = (
            "The labels look shuffled: the answers agree with them no more often than by chance."
            " Check which label belongs to which photo, or whether the model is trained."
        )
    return {
        "most_frequent": classes.describe(most) | {"top1": frequent},
        "uniform": {"top1": 1 / len(classes)},
        "gain": (right.value - dummy) / (1 - dummy) if dummy < 1 else 0.0,
        "relabelled": renamed.value,
        "labels_look_shuffled": bool(shuffled),
        "classes_look_permuted": bool(permuted),
        "sentence": sentence,
    }


def _relabelled(answers: Numbers, labels: Numbers, classes: int) -> Share:
    """Look labels up on half of the photos, drawn by chance, and count on the others."""
    order = np.random.default_rng(0).permutation(len(labels))
    known, counted = order[::2], order[1::2]
    codes, counts = np.unique(answers[known] * classes + labels[known], return_counts=True)
    names = np.full(classes, -1, np.int64)
    rising = codes[np.argsort(counts, kind="stable")]
    names[rising // classes] = rising % classes  # the last, most frequent one stays
    hits = int((names[answers[counted]] == labels[counted]).sum())
    return share(hits, max(1, len(counted)))
