"""Photos unlike the others: far darker, smaller, longer or more blurred than most."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.evaluation.accuracy import Entry
from app.evaluation.answers import Answer
from app.evaluation.segments import PROPERTIES, values_of

_REACH: Final = 1.5
"""Distances between the quartiles, beyond them, at which a value is odd: Tukey's fences."""
_LISTED: Final = 10
"""Photos of each property, the farthest first."""


def odd_photos(answers: Sequence[Answer]) -> Entry:
    """Return for each property the limits of what is usual, and the photos beyond them.

    Usual is what lies between Tukey's fences; limits are not beyond the photos themselves.

    Args:
        answers: Of the photos that could be classified.

    Returns:
        An object for each property that is known of any photo: `low`, `high`, how many photos are
        `below` and `above`, of `n` of which it is known, and up to 10 `photos` with their `value`.
    """
    found = {}
    for name in PROPERTIES:
        values = values_of(answers, name)
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            continue
        least, quarter, three_quarters, most = np.quantile(values[known], (0, 0.25, 0.75, 1))
        reach = _REACH * (three_quarters - quarter)
        low, high = max(quarter - reach, least), min(three_quarters + reach, most)
        beyond = np.maximum(low - values[known], values[known] - high)
        order = known[np.argsort(-beyond, kind="stable")][: min(_LISTED, int((beyond > 0).sum()))]
        found[name] = {
            "low": float(low),
            "high": float(high),
            "n": len(known),
            "below": int((values[known] < low).sum()),
            "above": int((values[known] > high).sum()),
            "photos": [
                {"name": answers[one].name, "value": float(values[one])} for one in order.tolist()
            ],
        }
    return found
