"""Two models, or one with two settings, on the same photos: which is better, and which answers changed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.evaluation.accuracy import Entry, ranks, share
from app.evaluation.classes import Classes
from app.records import Numbers, ProbabilityBatch

RESAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Side:
    """The answers of one side: float32 [N, classes], and the labels as indices of its own classes."""

    rows: ProbabilityBatch
    labels: Numbers
    classes: Classes


def compare(names: Sequence[str], first: Side, second: Side) -> Entry:
    """Compare the answers of two sides to the same photos; differences are second minus first."""
    hits = [ranks(side.rows, side.labels) == 0 for side in (first, second)]
    lost = int((hits[0] & ~hits[1]).sum())
    won = int((~hits[0] & hits[1]).sum())
    n = len(names)
    low, high = difference_interval(lost, won, n)
    changed = _changed(names, first, second)
    return {
        "n": n,
        "first": _figures(first),
        "second": _figures(second),
        "difference": {"top1": (won - lost) / n, "low": low, "high": high, "resamples": RESAMPLES},
        "mcnemar": {
            "only_first_right": lost,
            "only_second_right": won,
            "p_exact": mcnemar_exact(lost, won),
            "chi2": (abs(won - lost) - 1) ** 2 / (won + lost) if won + lost else 0.0,
            "p_chi2": mcnemar_chi2(lost, won),
        },
        "changed": {"count": len(changed), "share": len(changed) / n, "photos": changed},
    }


def difference_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a paired difference of top-1, by drawing photos 10,000 times.

    Drawing n photos again is drawing how many of them are won, lost and neither.
    """
    chances = (won / n, lost / n, (n - won - lost) / n)
    drawn = np.random.default_rng(0).multinomial(n, chances, RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, (0.025, 0.975))
    return float(low), float(high)


def mcnemar_exact(lost: int, won: int) -> float:
    """Return the two-sided p of McNemar's test: how likely so uneven a split is by chance alone."""
    total = lost + won
    term = below = 1
    for k in range(min(lost, won)):
        term = term * (total - k) // (k + 1)
        below += term
    return min(1.0, 2 * below / (1 << total))  # whole numbers: exact to the last digit


def mcnemar_chi2(lost: int, won: int) -> float:
    """Return p of McNemar's test by chi-squared with one degree of freedom, continuity corrected."""
    if lost + won == 0:
        return 1.0
    return math.erfc(math.sqrt((abs(won - lost) - 1) ** 2 / (won + lost) / 2))


def _figures(side: Side) -> Entry:
    places = ranks(side.rows, side.labels)
    n = len(places)
    one, five = share(int((places < 1).sum()), n), share(int((places < 5).sum()), n)  # noqa: PLR2004 (top-5)
    return {"top1": one.value, "top1_low": one.low, "top1_high": one.high, "top5": five.value}


def _changed(names: Sequence[str], first: Side, second: Side) -> list[Entry]:
    """List the photos with another first answer: what was right before, then what is now, then the rest."""
    found = []
    before, now = first.rows.argmax(axis=1), second.rows.argmax(axis=1)
    for place, name in enumerate(names):
        one, other = int(before[place]), int(now[place])
        keys = first.classes.key(one), second.classes.key(other)
        if keys[0] == keys[1]:
            continue
        right = (one == int(first.labels[place]), other == int(second.labels[place]))
        found.append(
            {
                "name": name,
                "label": first.classes.key(int(first.labels[place])),
                "label_text": first.classes.text(int(first.labels[place])),
                "first": keys[0],
                "first_text": first.classes.text(one),
                "first_probability": float(first.rows[place, one]),
                "second": keys[1],
                "second_text": second.classes.text(other),
                "second_probability": float(second.rows[place, other]),
                "right": "first" if right[0] else "second" if right[1] else "neither",
            }
        )
    order = {"first": 0, "second": 1, "neither": 2}
    return sorted(found, key=lambda entry: order[str(entry["right"])])
