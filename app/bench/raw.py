"""The limit: session.run alone, without a server, at each batch size."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import numpy as np

from app.records import PixelBatch, ProbabilityBatch

SIZES: Final = (1, 2, 4, 8, 16)
_LEAST_RUNS: Final = 3
_LEAST_SECONDS: Final = 0.2

RunBatch = Callable[[PixelBatch], ProbabilityBatch]


@dataclass(frozen=True, slots=True)
class RawSummary:
    """The limit, over all rounds.

    Attributes:
        model: Name of the model.
        trained: False for a stand-in of the true size.
        device: `cpu` or `cuda`.
        threads: Of a run, on a CPU.
        rounds: Images per second of each round, by batch size.
        images_per_second: Their medians, by batch size.
        best_size: The batch size with the most images per second.
        best: Images per second there.
        way: How its convolutions are computed, where ways are compared.
        beside: What other ways gave: images per second, by way and batch size.
    """

    model: str
    trained: bool
    device: str
    threads: int
    rounds: tuple[dict[str, float], ...]
    images_per_second: dict[str, float]
    best_size: int
    best: float
    way: str | None = None
    beside: dict[str, dict[str, float]] = field(default_factory=dict)


def measure_round(run: RunBatch, crop: int, sizes: tuple[int, ...] = SIZES) -> dict[str, float]:
    """Time every batch size once, by the median of a few runs after one that warms up.

    Args:
        run: The session's.
        crop: Side of the images.
        sizes: Of the batches.

    Returns:
        Images per second, by batch size.
    """
    return {str(size): size / median(_times(run, crop, size)) for size in sizes}


def summarise_rounds(
    rounds: list[dict[str, float]], *, model: str, trained: bool, device: str, threads: int
) -> RawSummary:
    """Take the median of the rounds, at least one."""
    medians = {size: median(one[size] for one in rounds) for size in rounds[0]}
    best = max(medians, key=lambda size: medians[size])
    return RawSummary(
        model=model,
        trained=trained,
        device=device,
        threads=threads,
        rounds=tuple(rounds),
        images_per_second=medians,
        best_size=int(best),
        best=medians[best],
    )


def _times(run: RunBatch, crop: int, size: int) -> Iterator[float]:
    noise = np.random.default_rng(0)
    batch = noise.integers(0, 256, (size, crop, crop, 3), np.uint8)
    run(batch)
    spent, runs = 0.0, 0
    while runs < _LEAST_RUNS or spent < _LEAST_SECONDS:
        began = time.perf_counter()
        run(batch)
        took = max(time.perf_counter() - began, 1e-9)
        spent, runs = spent + took, runs + 1
        yield took
