"""Which errors are the wrong breed, and which the wrong thing: whether both classes have a parent in common."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from app.evaluation.accuracy import Entry, share
from app.evaluation.classes import Classes
from app.records import Numbers

_TABLE: Final = Path(__file__).with_name("wordnet_parents.tsv")


def kinds_of_errors(answers: Numbers, labels: Numbers, classes: Classes) -> Entry:
    """Return how many errors took a photo for a class with the same WordNet parent.

    A Norwich terrier that is called a Norfolk terrier is such an error, one that is called a teapot is not.

    Args:
        answers: int64 [N].
        labels: int64 [N].
        classes: Those without a wnid of ImageNet's 1,000 have no parent.

    Returns:
        `n` errors; `known`, those whose classes both have a parent; `same_parent`, a share of these
        with its interval, null if there are none.
    """
    parents = read_parents()
    above = [
        parents.get(classes.describe(index)["wnid"] or "", frozenset())
        for index in range(len(classes))
    ]
    wrong = answers != labels
    pairs = zip(labels[wrong].tolist(), answers[wrong].tolist(), strict=True)
    same = [
        bool(above[label] & above[answer])
        for label, answer in pairs
        if above[label] and above[answer]
    ]
    return {
        "n": int(wrong.sum()),
        "known": len(same),
        "same_parent": asdict(share(sum(same), len(same))) if same else None,
    }


def read_parents() -> Mapping[str, frozenset[str]]:
    """Return the wnids of the direct hypernyms of ImageNet's classes, by their wnids."""
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="ascii").splitlines())
    return {row[0]: frozenset(row[1].split()) for row in rows if not row[0].startswith("#")}
