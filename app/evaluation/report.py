"""The report of an evaluation as JSON, whose keys stay: figures are fractions, unknown values null."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np

from app.evaluation.accuracy import (
    Entry,
    Share,
    baselines,
    confused_pairs,
    ranks,
    share,
    worst_classes,
)
from app.evaluation.answers import Answer
from app.evaluation.calibration import advice, calibration
from app.evaluation.classes import Classes
from app.evaluation.compare import Side, compare
from app.evaluation.dataset import Photo
from app.evaluation.faults import damaged, duplicates, suspects
from app.evaluation.kinds import kinds_of_errors
from app.evaluation.odd import odd_photos
from app.evaluation.segments import segments
from app.setup_errors import SetupError

SCHEMA: Final = 1
"""Rises when a key goes, or means something else; new keys may come at any time."""
_FIVE: Final = 5


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The photos with the labels of one model, and its answers to them, in the same order."""

    photos: Sequence[Photo]
    answers: Sequence[Answer]
    classes: Classes

    @property
    def classified(self) -> list[int]:
        """Return the places of the photos that could be classified."""
        return [place for place, answer in enumerate(self.answers) if not answer.trouble]

    def side(self, places: Sequence[int]) -> Side:
        """Return the answers and labels at these places."""
        rows = np.stack([self.answers[place].row for place in places])
        labels = np.array([self.photos[place].class_index for place in places], np.int64)
        return Side(rows, labels, self.classes)


def digest(done: Evaluated) -> str:
    """Return the SHA-256 of all photos, their names and labels, in any order: the same of the same data."""
    rows = sorted(
        f"{photo.name}\t{answer.sha256}\t{done.classes.key(photo.class_index)}\n"
        for photo, answer in zip(done.photos, done.answers, strict=True)
    )
    return sha256("".join(rows).encode()).hexdigest()


def evaluate(
    done: Evaluated,
    published: tuple[float, float] | None,
    temperature: float = 1.0,
    *,
    averaged: bool = False,
) -> dict[str, Any]:
    """Return the part of the report that follows from the answers alone.

    Args:
        done: The photos with their answers.
        published: The manifest's top-1 and top-5 as fractions.
        temperature: At which the model answered.
        averaged: Whether several views of a photo were averaged.

    Raises:
        SetupError: If no photo could be classified.
    """
    places = done.classified
    if not places:
        why = next((one.trouble for one in done.answers), "there are none")
        raise SetupError(f"None of the {len(done.answers)} photos could be classified: {why}")
    side = done.side(places)
    rank = ranks(side.rows, side.labels)
    right, answers = rank == 0, side.rows.argmax(axis=1)
    n = len(places)
    one, five = share(int(right.sum()), n), share(int((rank < _FIVE).sum()), n)
    figures = calibration(side.rows, right, side.labels)
    if figures["temperature"] is not None:
        figures["temperature"] |= advice(figures, temperature, averaged=averaged)
    names = [done.photos[place].name for place in places]
    pair = published or (None, None)
    return {
        "schema": SCHEMA,
        "top1": one.value,
        "top5": five.value,
        "ece": figures["ece"],
        "n": n,
        "accuracy": {"top1": _accuracy(one, pair[0]), "top5": _accuracy(five, pair[1])},
        "calibration": figures,
        "worst_classes": worst_classes(right, side.labels, done.classes),
        "confused_pairs": confused_pairs(answers, side.labels, done.classes),
        "errors": kinds_of_errors(answers, side.labels, done.classes),
        "segments": segments([done.answers[place] for place in places], right),
        "odd_photos": odd_photos([done.answers[place] for place in places]),
        "baselines": baselines(answers, side.labels, done.classes),
        "suspected_label_errors": suspects(names, side.rows, side.labels, done.classes),
        "damaged": damaged(done.answers),
        "duplicates": duplicates(done.photos, done.answers, done.classes),
    }


def compare_with(first: Evaluated, second: Evaluated) -> Entry:
    """Compare the answers of two models to the photos that both could classify.

    Raises:
        SetupError: If there is none.
    """
    both = sorted({*first.classified} & {*second.classified})
    if not both:
        raise SetupError("No photo could be classified by both models.")
    names = [first.photos[place].name for place in both]
    return compare(names, first.side(both), second.side(both))


def conditions(
    report: Mapping[str, Any], min_top1: float | None, max_ece: float | None
) -> list[Entry]:
    """Return which conditions were set, and whether the figures hold them."""
    found: list[Entry] = []
    if min_top1 is not None:
        met = report["top1"] >= min_top1
        found.append({"name": "min-top1", "limit": min_top1, "value": report["top1"], "met": met})
    if max_ece is not None:
        met = report["ece"] <= max_ece
        found.append({"name": "max-ece", "limit": max_ece, "value": report["ece"], "met": met})
    return found


def to_json(report: Mapping[str, Any]) -> str:
    """Write a report as JSON."""
    return json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _accuracy(one: Share, published: float | None) -> Entry:
    inside = None if published is None else one.holds(published)
    return asdict(one) | {"published": published, "published_inside": inside}
