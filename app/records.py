"""Array aliases with their shapes, and the frozen records that pass between modules."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

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

Energies: TypeAlias = NDArray[np.float32]
"""float32 [N]: log of the sum of exponentials of the logits of each image."""

Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]
"""Runs the graph on one batch."""

Blank: TypeAlias = Callable[[tuple[int, ...]], PixelBatch]
"""Returns a batch of that shape to be filled; its contents are arbitrary."""

LastEnergies: TypeAlias = Callable[[], Energies | None]
"""Returns the energies of the last batch that a thread has run; None of a graph without logits."""

Features: TypeAlias = Mapping[str, Any]
"""What a run keeps for `Explainer.explain`, by the names of outputs; only runtime looks inside."""

Numbers: TypeAlias = NDArray[np.int64]
"""int64 of any shape: images of a batch, classes."""

Step: TypeAlias = Literal[
    "fetching",
    "verifying",
    "measuring convolutions",
    "building",
    "calibrating",
    "loading",
    "warming up",
]
"""A step on the way from a manifest to a model that is ready."""

Progress: TypeAlias = Callable[[Step, int, int | None], None]
"""Called with the current step, the bytes done and the total bytes, None if unknown; calibrating has runs."""


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
class Explanation:
    """How a model is asked where in the image it sees a class.

    Attributes:
        method: `grad-cam` or `layer-cam` (app/graph/explain.py).
        layers: Convolutions whose maps are read, the sum of all if there are several. Empty for the
            last, which a manifest that was read names.
        threshold: Share of a map's largest value from which on a pixel belongs to the box.
    """

    method: str = "grad-cam"
    layers: tuple[str, ...] = ()
    threshold: float = 0.15


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a network sees classes: k of them in each of m images.

    Attributes:
        maps: float32 [m, k, s, s], 0 or more, row 0 at the top of the crop; only the values of one
            map can be compared. All 0 if nothing in the image speaks for the class.
        logits: float32 [m, k], as the run gave them. Of two classes that are compared, the
            difference of their logits.
        cells: float32 [m, k, p, p]: what each cell of the last pooling adds to the logit, or takes
            away; None if it was not asked for.
        constants: float32 [m, k]: what is left of the logit, the part of the biases; or None.
    """

    maps: NDArray[np.float32]
    logits: NDArray[np.float32]
    cells: NDArray[np.float32] | None = None
    constants: NDArray[np.float32] | None = None


class Explainer(Protocol):
    """Says of images that were run where a network sees classes in them.

    Both methods may be called by one thread at a time. Features are valid until the next run of the
    same explainer, of either method.
    """

    def run_keeping(self, batch: PixelBatch) -> tuple[ProbabilityBatch, Features]:
        """Classify a batch as `Session.run` does, and keep what `explain` needs; it is not copied."""

    def explain(
        self,
        features: Features,
        rows: Numbers,
        classes: Numbers,
        against: Numbers | None = None,
        *,
        cells: bool = True,
    ) -> Evidence:
        """Explain classes of some images, all in one run.

        Args:
            features: Of the batch.
            rows: [m]: which images of the batch.
            classes: [m, k]: what is asked about each of them.
            against: [m, k]: asks why a class and not this one; -1 for no such question.
            cells: Whether to compute `cells` and `constants`, which boxes and heat do not need: at
                224 pixels that takes several times as long.

        Raises:
            RunFailedError: If onnxruntime fails, or a value is not a number.
            DeviceLostError: If the GPU has failed for good.
        """


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle in pixels of the crop, edges between pixels: 0 to crop; maxima are exclusive."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


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
class Ask:
    """Which classes are to be explained about an image: its most probable ones, and others.

    Attributes:
        best: How many of the most probable ones.
        classes: Others, by index; one that is among the best is explained once.
        against: Asks why a class and not this one; -1 for no such question.
        cells: Whether the parts of the logit are wanted too, which take longer.
    """

    best: int
    classes: tuple[int, ...] = ()
    against: int = -1
    cells: bool = False

    @property
    def most(self) -> int:
        """Return how many classes there are at most."""
        return self.best + len(self.classes)


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a network sees classes in one image, as in `Evidence`.

    Attributes:
        classes: int64 [k].
        maps: float32 [k, s, s].
        cells: float32 [k, p, p]; None if they were not asked for.
        seconds: Duration of the explanation, which it may share with other images of its batch.
    """

    classes: Numbers
    maps: NDArray[np.float32]
    cells: NDArray[np.float32] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """What a batch gave for one image.

    Attributes:
        probabilities: float32 [classes].
        queue_seconds: From its arrival to the start of the run.
        run_seconds: Duration of its run.
        batch_size: Images that shared the run, padding not counted.
        seen: The explanation that it asked for.
        energy: Log of the sum of exponentials of its logits; None of a graph without logits.
    """

    probabilities: Probabilities
    queue_seconds: float
    run_seconds: float
    batch_size: int
    seen: Seen | None = None
    energy: float | None = None


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
