"""The raw limit of a device beside what it could do: its peaks, float16 against float32, PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np

from app.bench.raw import RunBatch, measure_round
from app.bench.roofline import Peaks, least_seconds
from app.graph.vgg import VggConfig
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import PixelBatch, Preprocess, ProbabilityBatch

ZOOMS: Final = (1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0)
"""Sizes at which each photo is looked at, in crops' sides: the centre shows ever less of it."""
LARGEST: Final = 5e-3
SAME_FIVE: Final = 0.98


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far float16 is from float32 on photos.

    Attributes:
        pictures: How many were compared.
        largest: Difference of a probability.
        same_first: Part of them with the same best class.
        same_five: Part of them with the same set of five best classes.
    """

    pictures: int
    largest: float
    same_first: float
    same_five: float

    @property
    def holds(self) -> bool:
        """Tell whether it is within the bounds that float16 has to keep."""
        return self.largest <= LARGEST and self.same_first == 1.0 and self.same_five >= SAME_FIVE


@dataclass(frozen=True, slots=True)
class Card:
    """One device and one network on it.

    Attributes:
        agreement: None where it was not measured.
        peaks: Of the device.
        network: Its operations for one image.
        limit: Images a second that the peaks allow, by batch size.
        torch: Images a second of PyTorch, by batch size; empty without it.
        without_torch: Why it is missing, or empty.
    """

    agreement: Agreement | None
    peaks: Peaks
    network: int
    limit: dict[str, float]
    torch: dict[str, float]
    without_torch: str


def views(photos: Sequence[bytes], preprocess: Preprocess) -> PixelBatch:
    """Make several inputs of each photo, as uploads become inputs."""
    ways = [replace(preprocess, resize=round(preprocess.crop * zoom)) for zoom in ZOOMS]
    limits = ImageLimits()
    return np.stack([prepare(p, way, limits, exact=True)[0] for p in photos for way in ways])


def compare(full: RunBatch, half: RunBatch, pictures: PixelBatch, size: int = 4) -> Agreement:
    """Run pictures in both precisions, in batches of `size`."""
    expected, actual = (_in_batches(run, pictures, size) for run in (full, half))
    fives = [np.sort(np.argsort(-rows, axis=1)[:, :5], axis=1) for rows in (expected, actual)]
    return Agreement(
        pictures=len(pictures),
        largest=float(np.abs(expected - actual).max()),
        same_first=float((expected.argmax(axis=1) == actual.argmax(axis=1)).mean()),
        same_five=float((fives[0] == fives[1]).all(axis=1).mean()),
    )


def limits(config: VggConfig, peaks: Peaks, sizes: Sequence[int]) -> dict[str, float]:
    """Return the images a second that the peaks allow, by batch size."""
    return {str(size): size / least_seconds(config, peaks, size) for size in sizes}


def time_torch(
    make: Callable[[], RunBatch], crop: int, sizes: tuple[int, ...], rounds: int
) -> dict[str, float]:
    """Return PyTorch's images a second by batch size, the median of a few rounds."""
    run = make()
    measured = [measure_round(run, crop, sizes) for _ in range(rounds)]
    return {size: median(one[size] for one in measured) for size in measured[0]}


def _in_batches(run: RunBatch, pictures: PixelBatch, size: int) -> ProbabilityBatch:
    starts = range(0, len(pictures), size)
    rows = [run(np.ascontiguousarray(pictures[start:][:size])) for start in starts]
    return np.concatenate(rows)
