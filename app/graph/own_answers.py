"""What somebody's classifier itself says of a few images, and what its numbers mean.

The form of a graph does not tell probabilities from logits: a softmax may be followed by a change of
type, a limit or a dequantisation, be written as Exp and Div, or be hidden in a function. So the
graph is run as it is, and what comes out is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.records import PixelBatch, Preprocess, ProbabilityBatch
from app.setup_errors import CheckpointError

ANSWERS_FILE: Final = "own_answers.npz"

Meaning: TypeAlias = Literal["logits", "probabilities"]

SUM_TOLERANCE: Final = 0.01
"""Of the sum of 1000 probabilities in float16 or bfloat16."""
LEAST: Final = float(np.finfo(np.float32).tiny)
"""Of probabilities in float32; stands for 0, whose logarithm there is not."""
_ROUNDING: Final = 1e-6
_COARSEST: Final = 0.01
"""Step of the coarsest quantised probabilities: 1/127 for int8."""
_FINEST: Final = 1e-5
"""Step of the finest: 1/65,536. Those of float16 are finer, and need no allowance."""
_NEAR: Final = 0.05
"""Share of a step: the rounding of float32."""


@dataclass(frozen=True, slots=True)
class OwnAnswers:
    """The outputs of a graph for some images.

    Attributes:
        images: The images.
        batch: How many copies of an image each run took: 1, unless the graph has a fixed batch.
        outputs: By the names of the outputs: for each image, what came out.
    """

    images: PixelBatch
    batch: int
    outputs: Mapping[str, Sequence[NDArray[np.generic]]]


Ask: TypeAlias = Callable[[Path, Preprocess], OwnAnswers]
"""Runs a classifier, exactly as it was published, on some images; a CheckpointError if it fails."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The output of a classifier that has a number for each class.

    Attributes:
        output: Its name.
        by_image: Whether its first axis is that of the images; a last Squeeze gives [classes] for one.
        rows: One row per image, in the type of the output.
        meaning: What the numbers are.
    """

    output: str
    by_image: bool
    rows: NDArray[np.floating]
    meaning: Meaning


def find_scores(answers: OwnAnswers, classes: int, wanted: Meaning = "probabilities") -> Scores:
    """Find the one output that scores the classes; of two that say the same, the one that is `wanted`.

    Raises:
        CheckpointError: If there is none, if there are several that differ, or if the numbers are
            neither probabilities nor logits.
    """
    size = answers.batch * classes
    found = []
    for name, arrays in answers.outputs.items():
        if all(array.dtype.kind == "f" and array.size == size for array in arrays):
            rows = np.stack([array.reshape(answers.batch, classes)[0] for array in arrays])
            shape = arrays[0].shape
            by_image = len(shape) > 1 and shape[0] == answers.batch
            found.append(Scores(name, by_image, rows, meaning(rows)))
    if not found:
        shown = "; ".join(
            f"{name!r}: {arrays[0].dtype} {list(arrays[0].shape)}"
            for name, arrays in answers.outputs.items()
        )
        raise CheckpointError(
            f"gives {shown} for {answers.batch} image(s), expected {classes} floating-point numbers"
            " for each, one per line of its labels"
        )
    first, *others = sorted(found, key=lambda scores: scores.meaning != wanted)
    exact = probabilities(first.rows)
    for other in others:
        if np.abs(probabilities(other.rows) - exact).max() > SUM_TOLERANCE:
            names = " and ".join(repr(scores.output) for scores in found)
            raise CheckpointError(
                f"has several outputs of {classes} numbers that differ, {names}: export it with one"
            )
    return first


def meaning(rows: NDArray[np.floating]) -> Meaning:
    """Tell what numbers are by how they look for several images: [images, classes].

    Raises:
        CheckpointError: If they are neither probabilities that sum to 1 nor logits.
    """
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise CheckpointError("gives values that are not finite numbers")
    if are_probabilities(rows):
        return "probabilities"
    sums = rows.sum(axis=1)
    low, high = float(sums.min()), float(sums.max())
    if rows.min() >= 0 and rows.max() <= 1 and high > 0:
        raise CheckpointError(
            f"gives values from 0 to 1 that do not sum to 1 (but to {low:.3g} to {high:.3g}), as a"
            " sigmoid does: neither probabilities of a single class nor logits; export it without"
            " its last operator, or with a softmax"
        )
    if rows.min() >= 0 and 99 < low <= high < 101:  # noqa: PLR2004 (per cent)
        raise CheckpointError(
            "gives values that sum to 100, per cent, expected probabilities that sum to 1, or"
            " logits: export it without what follows its softmax"
        )
    return "logits"


def are_probabilities(rows: NDArray[np.floating]) -> bool:
    """Return whether each row is a distribution, possibly rounded to a grid or limited from below."""
    if rows.min() < -_ROUNDING or rows.max() > 1 + SUM_TOLERANCE:
        return False
    sums, (_, classes) = rows.sum(axis=1), rows.shape
    half = _step(rows) / 2  # by which each value may have been rounded
    least = rows.min()
    floor = (rows.min(axis=1) == least) * (least if least * classes <= 1 else 0)
    most = 1 + SUM_TOLERANCE + half * (rows > 0).sum(axis=1) + floor * classes
    return bool((sums >= 1 - SUM_TOLERANCE - half * classes).all() and (sums <= most).all())


def _step(rows: NDArray[np.floating]) -> float:
    """Return the step of the grid that all values are on; 0 if they are on none."""
    gaps = np.diff(np.unique(np.append(rows, 0)))
    step = float(gaps.min()) if gaps.size else 0.0
    if not _FINEST <= step <= _COARSEST:
        return 0.0
    steps = rows / step
    return step if np.abs(steps - np.round(steps)).max() < _NEAR else 0.0


def are_coarse(rows: NDArray[np.floating]) -> bool:
    """Return whether small probabilities are lost: in float16, on a grid, below float32, or limited."""
    if (rows == rows[:, :1]).all():  # all classes are the same, and stay so
        return False
    at_least = (rows == rows.min()).sum(axis=1)
    # Several classes of several images share the least value.
    limited = (at_least > 1).sum() > 1
    halves = (rows == rows.astype(np.float16)).all()
    return bool(limited or halves or (rows < LEAST).any() or _step(rows) > 0)


def probabilities(rows: NDArray[np.floating], temperature: float = 1.0) -> ProbabilityBatch:
    """Compute what has to be served for rows of a classifier: themselves, or softmax at a temperature."""
    exact = rows.astype(np.float64)
    logits = meaning(rows) == "logits"
    if temperature != 1:
        exact = (exact if logits else np.log(np.maximum(exact, LEAST))) / temperature
    if logits or temperature != 1:
        powers = np.exp(exact - exact.max(axis=1, keepdims=True))
        exact = powers / powers.sum(axis=1, keepdims=True)
    return exact.astype(np.float32)


def save_answers(folder: Path, images: PixelBatch, scores: Scores) -> None:
    """Write a classifier's own answers beside its serving graph, for the self-test."""
    np.savez(folder / ANSWERS_FILE, images=images, rows=scores.rows)


def read_answers(
    folder: Path, temperature: float = 1.0
) -> tuple[PixelBatch, ProbabilityBatch] | None:
    """Read images, and the probabilities that a serving graph has to give; None for a VGG."""
    path = folder / ANSWERS_FILE
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return stored["images"], probabilities(stored["rows"], temperature)
