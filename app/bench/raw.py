"""session.run alone, without a server, at each batch size: the most that a service can reach."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

import numpy as np

from app.records import PixelBatch, ProbabilityBatch

SIZES: Final = (1, 2, 4, 8, 16)
_LEAST_RUNS: Final = 3
_LEAST_SECONDS: Final = 0.2

Rates: TypeAlias = dict[str, float]
"""Images per second, by batch size."""
Round: TypeAlias = dict[str | None, Rates]
"""Rates by way to compute convolutions (`--conv`); None is what the service does."""


@dataclass(frozen=True, slots=True)
class RawSummary:
    """Images per second of session.run alone.

    Attributes:
        trained: False for untrained weights of the true size.
        threads: Threads per run, on a CPU.
        images_per_second: Medians of the rounds.
        best: The highest of them, at best_size.
        way: How convolutions are computed, if several ways are compared.
        beside: Medians of the other ways.
    """

    model: str
    trained: bool
    device: str
    threads: int
    rounds: tuple[Rates, ...]
    images_per_second: Rates
    best_size: int
    best: float
    way: str | None
    beside: dict[str, Rates]


def measure_round(
    run: Callable[[PixelBatch], ProbabilityBatch], crop: int, sizes: Sequence[int] = SIZES
) -> Rates:
    """Time every batch size: the median of a few runs after a warm-up run.

    Args:
        run: Runs a batch, uint8 [N, crop, crop, 3].
        crop: Side of the images (pixels).
        sizes: Batch sizes.
    """
    return {str(size): size / median(_times(run, crop, size)) for size in sizes}


def summarise_rounds(
    rounds: Sequence[Round],
    *,
    model: str,
    trained: bool,
    device: str,
    threads: int,
) -> RawSummary:
    """Take the medians of the rounds, at least one; the first way is what others are compared with."""
    first = next(iter(rounds[0]))
    medians = {
        way: {size: median(one[way][size] for one in rounds) for size in rates}
        for way, rates in rounds[0].items()
    }
    rates = medians.pop(first)
    best = max(rates, key=lambda size: rates[size])
    return RawSummary(
        model=model,
        trained=trained,
        device=device,
        threads=threads,
        rounds=tuple(one[first] for one in rounds),
        images_per_second=rates,
        best_size=int(best),
        best=rates[best],
        way=first,
        beside={str(way): other for way, other in medians.items()},
    )


def _times(run: Callable[[PixelBatch], ProbabilityBatch], crop: int, size: int) -> Iterator[float]:
    batch = np.random.default_rng(0).integers(0, 256, (size, crop, crop, 3), np.uint8)
    run(batch)
    spent, runs = 0.0, 0
    while runs < _LEAST_RUNS or spent < _LEAST_SECONDS:
        began = time.perf_counter()
        run(batch)
        took = max(time.perf_counter() - began, 1e-9)
        spent, runs = spent + took, runs + 1
        yield took
