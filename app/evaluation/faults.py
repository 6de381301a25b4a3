"""Photos to look at: whose label may be wrong, that are there twice, that cannot be decoded."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from app.evaluation.accuracy import Entry
from app.evaluation.answers import Answer
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo
from app.records import Numbers, ProbabilityBatch

_SUSPECTS: Final = 400
_LISTED: Final = 1000


def suspects(
    names: Sequence[str], rows: ProbabilityBatch, labels: Numbers, classes: Classes
) -> list[Entry]:
    """List up to 400 photos whose label is least probable, the most suspect first.

    Their order is cleanlab's self-confidence (Northcutt 2021, arXiv 1911.00068), among the photos
    that the model takes for another class.
    """
    own = rows[np.arange(len(rows)), labels]
    answers = rows.argmax(axis=1)
    order = np.argsort(own, kind="stable")
    found = [int(one) for one in order[answers[order] != labels[order]][:_SUSPECTS]]
    return [
        {
            "name": names[one],
            "label": classes.describe(int(labels[one])),
            "label_probability": float(own[one]),
            "answer": classes.describe(int(answers[one])),
            "answer_probability": float(rows[one, answers[one]]),
        }
        for one in found
    ]


def damaged(answers: Sequence[Answer]) -> list[Entry]:
    """List the photos that could not be classified; no figure counts them."""
    return [{"name": one.name, "why": one.trouble} for one in answers if one.trouble]


def duplicates(photos: Sequence[Photo], answers: Sequence[Answer], classes: Classes) -> Entry:
    """List the files with the same bytes, those with different labels first; all figures count them."""
    alike: dict[str, list[Photo]] = defaultdict(list)
    for photo, answer in zip(photos, answers, strict=True):
        if answer.sha256:
            alike[answer.sha256].append(photo)
    groups = [group for group in alike.values() if len(group) > 1]
    conflicting = [len({one.class_index for one in group}) > 1 for group in groups]
    ordered = sorted(zip(groups, conflicting, strict=True), key=lambda pair: not pair[1])
    return {
        "groups": len(groups),
        "files_too_many": sum(len(group) - 1 for group in groups),
        "with_different_labels": sum(conflicting),
        "listed": [
            {
                "names": [one.name for one in group],
                "labels": [classes.key(one.class_index) for one in group],
                "different_labels": conflict,
            }
            for group, conflict in ordered[:_LISTED]
        ],
    }
