"""How far the float16 graph of a model is from its float32 graph, on views of photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import PixelBatch, Preprocess, ProbabilityBatch
from app.weights.calibration import agreement

RunBatch: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]

ZOOMS: Final = (1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0)
"""Sizes to which each photo is resized, in sides of the crop: the crop shows ever less of it."""
LARGEST: Final = 5e-3
SAME_FIVE: Final = 0.98


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far float16 is from float32.

    Attributes:
        pictures: Number of inputs that were compared.
        largest: Largest difference of a probability.
        same_first: Share of inputs with the same best class.
        same_five: Share of inputs with the same set of five best classes.
    """

    pictures: int
    largest: float
    same_first: float
    same_five: float

    @property
    def holds(self) -> bool:
        """Whether float16 is within its bounds."""
        return self.largest <= LARGEST and self.same_first == 1.0 and self.same_five >= SAME_FIVE


def views(photos: Sequence[bytes], preprocess: Preprocess) -> PixelBatch:
    """Make an input of each photo at each zoom, exactly as uploads become inputs."""
    ways = [replace(preprocess, resize=round(preprocess.crop * zoom)) for zoom in ZOOMS]
    limits = ImageLimits()
    return np.stack([prepare(p, way, limits, exact=True)[0] for p in photos for way in ways])


def compare(full: RunBatch, half: RunBatch, pictures: PixelBatch, size: int = 4) -> Agreement:
    """Run pictures in both precisions, in batches of `size`."""
    expected, actual = (_in_batches(run, pictures, size) for run in (full, half))
    found = agreement.compare(expected, actual)
    return Agreement(
        pictures=len(pictures),
        largest=found["largest_difference"],
        same_first=found["same_first"],
        same_five=found["same_five"],
    )


def _in_batches(run: RunBatch, pictures: PixelBatch, size: int) -> ProbabilityBatch:
    starts = range(0, len(pictures), size)
    return np.concatenate([run(np.ascontiguousarray(pictures[at : at + size])) for at in starts])
