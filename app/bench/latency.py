"""Percentiles of exact, sorted samples; none where there are too few to tell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import median


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one kind of answer, in milliseconds; None where there are too few samples to tell.

    Attributes:
        samples: How many there are.
        p50: Median.
        p90: Of 10 samples at least.
        p99: Of 100 samples at least.
        p999: 99.9 %, of 1000 samples at least.
        max: The longest.
    """

    samples: int
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


def percentile(ordered: Sequence[float], permille: int) -> float | None:
    """Return the smallest sample that so many of a thousand do not exceed (nearest rank).

    Args:
        ordered: Samples, ascending.
        permille: 1 to 999.

    Returns:
        None if there are too few to say: 99.9 % takes 1000 of them, 99 % takes 100.
    """
    if len(ordered) * (1000 - permille) < 1000:  # noqa: PLR2004 (of a thousand)
        return None
    return ordered[-(-len(ordered) * permille // 1000) - 1]


def latency_of(seconds: Iterable[float]) -> Latency:
    """Sort samples, given in seconds, and read their percentiles."""
    ordered = sorted(1000 * one for one in seconds)
    if not ordered:
        return Latency(0)
    p50, p90, p99, p999 = (percentile(ordered, permille) for permille in (500, 900, 990, 999))
    return Latency(len(ordered), p50, p90, p99, p999, ordered[-1])


def combine_latencies(parts: Sequence[Latency]) -> Latency:
    """Join the repeats of a load: samples are added, of all else the median."""
    names = [field.name for field in fields(Latency)][1:]
    values = {name: median_known([getattr(part, name) for part in parts]) for name in names}
    return Latency(sum(part.samples for part in parts), **values)


def median_known(values: Sequence[float | None]) -> float | None:
    """Return the median of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
