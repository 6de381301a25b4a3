"""Where a model is weak: the dark photos, the small ones, those that are both blurred and narrow.

Deepchecks asks the same (WeakSegmentsPerformance, whose least share of 5 % is taken over) with decision
trees; here two cuts along deciles are tried out, all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.evaluation.accuracy import Entry, Flags, share
from app.evaluation.answers import Answer
from app.images.properties import jpeg_quality, look_of
from app.records import Pixels

PROPERTIES: Final = {
    "brightness": "mean luma of what the model sees, 0 to 1",
    "contrast": "standard deviation of its luma, 0 to 0.5",
    "sharpness": "variance of the Laplacian of its luma (0..255); low where it is blurred",
    "shorter_side": "pixels of the photo's shorter side",
    "aspect_ratio": "width over height of the photo",
    "jpeg_quality": "estimated from the quantisation table, 1 to 100",
}
"""Each property of a photo, and what its numbers mean."""

LEAST_SHARE: Final = 0.05
"""Of the photos, in a segment that counts."""
_CUTS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Quantiles at which the search cuts."""
_LISTED: Final = 10

Values = NDArray[np.float64]


def properties(data: bytes, pixels: Pixels) -> dict[str, float]:
    """Measure a photo: its file, and the crop that the model sees. What is unknown is left out."""
    look, quality = look_of(pixels), jpeg_quality(data)
    return look._asdict() | ({} if quality is None else {"jpeg_quality": float(quality)})


def segments(answers: Sequence[Answer], right: Flags) -> Entry:
    """Compare thirds of the photos by each property, and search for weak ones with two properties.

    Args:
        answers: Of the photos that could be classified.
        right: Whether the first answer is.
    """
    values = {name: values_of(answers, name) for name in PROPERTIES}
    found, tried = search(values, right)
    return {
        "least_share": LEAST_SHARE,
        "top1": float(right.mean()),
        "properties": {
            name: {"meaning": meaning, "segments": thirds(values[name], right)}
            for name, meaning in PROPERTIES.items()
        },
        "tried": tried,
        "weak": found,
    }


def thirds(values: Values, right: Flags) -> list[Entry]:
    """Return the accuracy of the lower, middle and upper third by a property.

    A third is weak if its 95 % interval lies below the accuracy of all photos. Thirds may differ in
    size, and one may be missing, where many photos have the same value; without a difference there are none.

    Args:
        values: NaN where the property is unknown.
        right: Whether the first answer is.
    """
    known = ~np.isnan(values)
    if not known.any():
        return []
    edges = np.unique(np.quantile(values[known], (1 / 3, 2 / 3), method="lower"))
    edges = edges[edges < values[known].max()]
    bounds: list[float | None] = [None, *edges.tolist(), None]
    found = []
    for above, up_to in pairwise(bounds):
        inside = known & _inside(values, above, up_to)
        one = share(int(right[inside].sum()), int(inside.sum()))
        weak = one.n >= LEAST_SHARE * len(right) and one.high < right.mean()
        found.append(
            {"above": above, "up_to": up_to, "n": one.n, "share": one.n / len(right)}
            | {"top1": one.value, "low": one.low, "high": one.high, "weak": bool(weak)}
        )
    return found if len(found) > 1 else []


@dataclass(frozen=True, slots=True)
class _Cut:
    """The photos on one side of a value of a property."""

    name: str
    above: float | None
    up_to: float | None

    def entry(self) -> Entry:
        return {"property": self.name, "above": self.above, "up_to": self.up_to}


@dataclass(frozen=True, slots=True)
class _Found:
    """A segment: the photos inside all its cuts, with Wilson's interval of z standard errors."""

    cuts: tuple[_Cut, ...]
    right: int
    n: int
    low: float = 0.0
    high: float = 1.0
    z: float = 0.0


def search(values: Mapping[str, Values], right: Flags) -> tuple[list[Entry], int]:
    """Search for weak segments: one or two properties, each cut at a quantile.

    Their intervals are as wide as they have to be for so many segments (Bonferroni): with a chance of
    95 % none is listed where there is nothing. A second property is named only if the interval excludes
    what each property has alone. A segment that is only weak by photos of one that is listed is not listed,
    unless they have no property in common: dark photos often have little contrast, and either may be the reason.

    Returns:
        Up to 10 segments, first the one that surely costs most right answers; and how many were tried.
    """
    least = max(1, LEAST_SHARE * len(right))
    names = [name for name, column in values.items() if not np.isnan(column).any()]
    edges = {name: _edges(values[name]) for name in names}
    singles = {
        (one.cuts[0]): one
        for name in names
        for one in _sides(name, values[name], edges[name], right)
    }
    pairs = [
        one
        for pair in combinations(names, 2)
        for one in _corners(pair, [values[name] for name in pair], edges, right)
    ]
    kinds = [[one for one in kind if one.n >= least] for kind in (singles.values(), pairs)]
    bounded = [one for kind in kinds for one in _bounded(kind)]
    mean = float(right.mean())
    weak = [one for one in bounded if one.high < _limit(one, singles, mean)]
    listed: list[tuple[_Found, Flags]] = []
    for one in sorted(weak, key=lambda found: found.n * (found.high - mean)):
        inside = np.all(
            [_inside(values[cut.name], cut.above, cut.up_to) for cut in one.cuts], axis=0
        )
        rest = inside.copy()
        for before, other in listed:
            if {cut.name for cut in before.cuts} & {cut.name for cut in one.cuts}:
                rest &= ~other
        n = int(rest.sum())
        if n >= least and share(int(right[rest].sum()), n, one.z).high < mean:
            listed.append((one, inside))
        if len(listed) == _LISTED:
            break
    return [_entry(one, len(right)) for one, _ in listed], len(bounded)


def _bounded(tried: Sequence[_Found]) -> list[_Found]:
    """Give segments intervals that all hold with a chance of 97.5 %: those of the other kind take the rest."""
    if not tried:
        return []
    z = NormalDist().inv_cdf(1 - 0.0125 / len(tried))
    shares = [share(one.right, one.n, z) for one in tried]
    return [
        replace(one, low=found.low, high=found.high, z=z)
        for one, found in zip(tried, shares, strict=True)
    ]


def describe(cuts: Sequence[Mapping[str, Any]]) -> str:
    """Write a segment for people: `brightness up to 0.213 and sharpness above 310`."""
    return " and ".join(_bounds(cut) for cut in cuts)


def _bounds(cut: Mapping[str, Any]) -> str:
    name, above, up_to = str(cut["property"]).replace("_", " "), cut["above"], cut["up_to"]
    if above is None:
        return f"{name} up to {short(up_to)}"
    return f"{name} above {short(above)}" + ("" if up_to is None else f" up to {short(up_to)}")


def short(value: float) -> str:
    """Write a number of any size in four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 (four digits)


def _limit(one: _Found, singles: Mapping[_Cut, _Found], mean: float) -> float:
    """Return what an interval has to exclude: the accuracy of all photos, and of each property alone."""
    if len(one.cuts) == 1:
        return mean
    alone = (singles[cut] for cut in one.cuts)
    return min([mean, *(single.right / single.n for single in alone)])


def _entry(one: _Found, photos: int) -> Entry:
    where = [cut.entry() for cut in one.cuts]
    return {
        "text": describe(where), "where": where, "n": one.n, "share": one.n / photos,
        "top1": one.right / one.n, "low": one.low, "high": one.high,
    }  # fmt: skip


def values_of(answers: Sequence[Answer], name: str) -> Values:
    """Return a property of each photo, NaN where it is unknown; its size is known without having been measured."""
    if name == "shorter_side":
        return np.array([min(one.size) for one in answers], np.float64)
    if name == "aspect_ratio":
        return np.array([one.size[0] / one.size[1] for one in answers], np.float64)
    return np.array([one.properties.get(name, np.nan) for one in answers], np.float64)


def _edges(values: Values) -> Values:
    """Return the values to cut at; none where all photos have the same."""
    edges: Values = np.unique(np.quantile(values, _CUTS, method="lower"))
    kept: Values = edges[edges < values.max()]
    return kept


def _inside(values: Values, above: float | None, up_to: float | None) -> Flags:
    found: Flags = (values > (-np.inf if above is None else above)) & (
        values <= (np.inf if up_to is None else up_to)
    )
    return found


def _sides(name: str, values: Values, edges: Values, right: Flags) -> Iterator[_Found]:
    """Yield the photos on both sides of each edge."""
    places = np.searchsorted(edges, values)
    counts = [
        _below(np.bincount(places[kind], minlength=len(edges) + 1)) for kind in (right, ~right)
    ]
    for below, above, cuts in _split(name, edges):
        hits, misses = (below * one[:-1] + above * (one[-1] - one[:-1]) for one in counts)
        for cut, hit, miss in zip(cuts, hits, misses, strict=True):
            yield _Found((cut,), int(hit), int(hit + miss))


def _corners(
    pair: tuple[str, str], columns: Sequence[Values], edges: Mapping[str, Values], right: Flags
) -> Iterator[_Found]:
    """Yield the photos in the four corners around each pair of edges."""
    first, second = (edges[name] for name in pair)
    shape = len(first) + 1, len(second) + 1
    places = np.searchsorted(first, columns[0]) * shape[1] + np.searchsorted(second, columns[1])
    counts = [
        _below(_below(np.bincount(places[kind], minlength=shape[0] * shape[1]).reshape(shape)).T).T
        for kind in (right, ~right)
    ]
    for below, above, cuts in _split(pair[0], first):
        hits, misses = (below * one[:-1] + above * (one[-1:] - one[:-1]) for one in counts)
        for below2, above2, others in _split(pair[1], second):
            hit, miss = (
                below2 * one[:, :-1] + above2 * (one[:, -1:] - one[:, :-1])
                for one in (hits, misses)
            )
            for row, cut in enumerate(cuts):
                for column, other in enumerate(others):
                    right_ones = int(hit[row, column])
                    yield _Found((cut, other), right_ones, right_ones + int(miss[row, column]))


def _split(name: str, edges: Values) -> Iterator[tuple[int, int, list[_Cut]]]:
    """Yield both sides of a property's edges: factors of what is below and above, and the cuts."""
    yield 1, 0, [_Cut(name, None, float(edge)) for edge in edges]
    yield 0, 1, [_Cut(name, float(edge), None) for edge in edges]


def _below(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return running sums along the first axis."""
    sums: NDArray[np.int64] = counts.cumsum(axis=0)
    return sums
