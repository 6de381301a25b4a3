"""Array aliases with their shapes, and the frozen records that pass between modules."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8 [crop, crop, 3], RGB: one image as the network sees it."""

PixelBatch: TypeAlias = NDArray[np.uint8]
"""uint8 [N, crop, crop, 3], RGB: the input of a run."""

Probabilities: TypeAlias = NDArray[np.float32]
"""float32 [classes], sums to 1: the result for one image."""

ProbabilityBatch: TypeAlias = NDArray[np.float32]
"""float32 [N, classes], rows sum to 1: the output of a run."""

Tensor: TypeAlias = NDArray[np.float32]
"""float32 of any shape: one weight or bias."""

Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]
"""Runs the graph on one batch."""

Blank: TypeAlias = Callable[[tuple[int, ...]], PixelBatch]
"""Returns a batch of that shape to be filled; its contents are arbitrary."""

Step: TypeAlias = Literal[
    "fetching", "verifying", "measuring convolutions", "building", "loading", "warming up"
]
"""A step on the way from a manifest to a model that is ready."""

Progress: TypeAlias = Callable[[Step, int, int | None], None]
"""Called with the current step, the bytes done and the total bytes, None if unknown."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a network with weights: `conv1_1` or `fc6`.

    Attributes:
        weight: Convolution [out, in, height, width]; fully connected [out, in].
            The inputs of fc6 are flattened channel first (index = c*49 + y*7 + x).
        bias: [out].
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a decoded image becomes the input of these weights.

    Attributes:
        resize: Shorter side in pixels, bilinear with antialiasing.
        crop: Side of the centre square in pixels.
        channels: `RGB` or `BGR`, the order that the weights were trained with.
        mean: Subtracted, one a channel in the order of `channels`, 0..255 units.
        std: Divided by, after the mean, in the same order and units.
    """

    resize: int
    crop: int
    channels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an upload was.

    Attributes:
        width: Pixels, after its EXIF orientation was applied.
        height: Pixels, after its EXIF orientation was applied.
        format: A name of `app.images.formats.FORMATS`: `jpeg`.
    """

    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Row:
    """What a batch gave for one image.

    Attributes:
        probabilities: float32 [classes].
        queue_seconds: From its arrival to the start of the run.
        run_seconds: Duration of its run.
        batch_size: Images that shared the run, padding not counted.
    """

    probabilities: Probabilities
    queue_seconds: float
    run_seconds: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One run that succeeded.

    Attributes:
        images: Number of images in the batch, without padding.
        waits: For each image its wait in seconds, and the wait predicted when it arrived.
    """

    images: int
    waits: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Label:
    """One class.

    Attributes:
        wnid: WordNet id, unique: `n02123045`. None for classes that are not WordNet's.
        text: Names in English, comma-separated; not unique (`crane` is two classes).
    """

    wnid: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of an answer.

    Attributes:
        rank: 1 is the most probable class.
        label: Its name.
        probability: 0..1, softmax over all classes.
        wnid: WordNet id, or None.
        class_index: Position in the network's output, from 0.
    """

    rank: int
    label: str
    probability: float
    wnid: str | None
    class_index: int


def percent(probability: float) -> str:
    """Write a probability for people: never 0 for more than none, never 100 for less than all.

    app/web/page/static/js/format.js has the same rule.
    """
    tenths = math.floor(1000 * probability + 0.5)
    if 0 < probability < 0.001:  # noqa: PLR2004 (the smallest that is shown)
        return "< 0.1 %"
    if probability < 1 and tenths == 1000:  # noqa: PLR2004 (100 %)
        return "> 99.9 %"
    return f"{tenths / 10:.1f} %"
