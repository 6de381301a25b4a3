"""Accuracy by labels of which a photo may have several, or none, as ImageNet's of 2020 ("ReaL") are.

Beyer, Henaff, Kolesnikov, Zhai and van den Oord, Are we done with ImageNet?, arXiv 2006.07159; their file is
`real.json`: a list of lists of class indices, one for each of the 50,000 validation photos.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.evaluation.accuracy import Entry, Flags, share
from app.evaluation.dataset import Photo
from app.records import ProbabilityBatch
from app.setup_errors import LabelsError
from app.texts import read_text

_FIVE: Final = 5
_NUMBERED: Final = re.compile(r"_val_0*([1-9]\d*)$")
"""Ends the names of ILSVRC's validation photos, before the suffix: their number, from 1."""


def read_real(path: Path, photos: Sequence[Photo], classes: int) -> list[frozenset[int]]:
    """Read the right answers to each photo.

    The file is JSON: an object with the indices of classes for each photo's name; or a list of such
    lists, for photos called as ILSVRC's (`ILSVRC2012_val_00000001.JPEG`) by their number, and for others
    in the order of their file names.

    Raises:
        LabelsError: If it is anything else, has no entry for a photo, or names no class of the model.
    """
    try:
        there: Any = json.loads(read_text(path))
    except (OSError, ValueError) as exc:
        raise LabelsError(f"{path}: cannot be read as JSON: {exc}.") from exc
    if isinstance(there, dict):
        found = [there.get(photo.name) for photo in photos]
    elif isinstance(there, list):
        found = [there[place] for place in _places(path, photos, len(there))]
    else:
        raise LabelsError(f"{path}: expected a list of lists of class indices.")
    sets = []
    for photo, some in zip(photos, found, strict=True):
        if not isinstance(some, list):
            raise LabelsError(f"{path}: has no list of class indices for {photo.name}.")
        if not all(type(one) is int and 0 <= one < classes for one in some):
            raise LabelsError(
                f"{path}: {photo.name} has {some}, expected indices from 0 to {classes - 1}."
            )
        sets.append(frozenset(some))
    return sets


def real_accuracy(rows: ProbabilityBatch, sets: Sequence[frozenset[int]]) -> Entry:
    """Return how often the first answer, or one of the first five, is right; photos without a label do not count.

    Args:
        rows: float32 [N, classes].
        sets: Right answers to each.
    """
    counted = [place for place, right in enumerate(sets) if right]
    n = len(counted)
    known = {"n": n, "left_out": len(sets) - n}
    if not n:
        return known | {"top1": None, "top5": None}
    order = np.argsort(-rows[counted], axis=1, kind="stable")[:, :_FIVE]
    hits: Flags = np.array(
        [[one in sets[place] for one in row] for place, row in zip(counted, order.tolist(), strict=True)]
    )  # fmt: skip
    one, five = share(int(hits[:, 0].sum()), n), share(int(hits.any(axis=1).sum()), n)
    return known | {"top1": asdict(one), "top5": asdict(five)}


def _places(path: Path, photos: Sequence[Photo], many: int) -> list[int]:
    """Return which list of so many each photo has."""
    numbers = [_NUMBERED.search(photo.path.stem) for photo in photos]
    if all(numbers):
        places = [int(one[1]) - 1 for one in numbers if one]
        if max(places) >= many:
            raise LabelsError(
                f"{path}: has {many:,} lists, and none for photo {max(places) + 1:,}."
            )
        return places
    if many != len(photos):
        raise LabelsError(
            f"{path}: has {many:,} lists, and there are {len(photos):,} photos: expected one a photo, in"
            " the order of their file names."
        )
    order = sorted(range(many), key=lambda place: photos[place].path.name)
    ranks = [0] * many
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks
