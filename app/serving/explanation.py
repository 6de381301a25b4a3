"""From what a network saw to what a client reads: boxes on the photo, shares of evidence, heat."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.images.map_box import find_box
from app.images.overlay import Marks
from app.images.photo_box import PhotoBox, photo_box, view_of
from app.records import Area, Ask, ImageInfo, Prediction, Preprocess, Seen
from app.weights.manifests.manifest import Manifest

MOST_SIDE: Final = 56
"""Rows and columns of heat in an answer; finer maps are reduced."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks beside the most probable classes.

    Attributes:
        parts: Of `box`, `evidence` and `heat`; none to ask about probabilities alone.
        classes: Other classes, by index.
        against: A class that the others are compared with; None for no such question.
    """

    parts: frozenset[str] = frozenset()
    classes: tuple[int, ...] = ()
    against: int | None = None

    @property
    def fields(self) -> dict[str, str | int]:
        """Return what the log says of it."""
        return {"explain": ",".join(sorted(self.parts)), "asked": len(self.classes)}

    def ask(self, best: int) -> Ask:
        """Return what the model is to explain, beside so many of the most probable classes."""
        against = -1 if self.against is None else self.against
        return Ask(best, self.classes, against, cells="evidence" in self.parts)


@dataclass(frozen=True, slots=True)
class Located:
    """Where a network saw one class.

    Attributes:
        box: On the upright photo; None if nothing there speaks for the class.
        evidence_in_box: Share of what speaks for the class that lies in the box, 0 to 1; None if
            there is no box, or nobody asked.
        heat: float32 [s, s], 0 to 1, over the view, row 0 at the top; all 0 without a box.
    """

    box: PhotoBox | None
    evidence_in_box: float | None
    heat: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explained:
    """The part of an answer that a question asked for.

    Attributes:
        asked: The classes that the question named, in its order, each with its rank of all classes.
        view: What the model saw of the upright photo; None if nothing was to be located.
        located: By class_index; empty if nothing was to be located, or the weights are untrained.
    """

    asked: tuple[Prediction, ...] = ()
    view: PhotoBox | None = None
    located: Mapping[int, Located] = field(default_factory=dict)


def marks_of(
    explained: Explained | None, predictions: Sequence[Prediction], parts: Collection[str]
) -> Marks | None:
    """Return what a picture shows: the first class that was asked about, or else the best one.

    Args:
        explained: What was found; None if nothing was asked.
        predictions: The best first.
        parts: Heat is drawn if `heat` is among them.

    Returns:
        None if nothing was to be located, or the weights are untrained.
    """
    if explained is None or explained.view is None:
        return None
    shown = (*explained.asked, *predictions)[0].class_index
    located = explained.located.get(shown)
    if located is None:
        return None
    return Marks(explained.view, located.heat if "heat" in parts else None, located.box)


def explain(
    seen: Seen | None, manifest: Manifest, image: ImageInfo, asked: tuple[Prediction, ...]
) -> Explained:
    """Find the classes of an explanation on the photo; takes milliseconds, so call it in a thread."""
    size = image.width, image.height
    located = {}
    if seen is not None and manifest.explanation is not None:
        threshold, preprocess = manifest.explanation.threshold, manifest.preprocess
        for place, index in enumerate(seen.classes.tolist()):
            cells = None if seen.cells is None else seen.cells[place]
            located[index] = _locate(seen.maps[place], cells, threshold, size, preprocess)
    return Explained(asked, view_of(size, manifest.preprocess), located)


def _locate(
    values: NDArray[np.float32],
    cells: NDArray[np.float32] | None,
    threshold: float,
    size: tuple[int, int],
    preprocess: Preprocess,
) -> Located:
    area = find_box(values, threshold, preprocess.crop)
    if area is None:
        return Located(None, None, _reduced(np.zeros_like(values)))
    share = None if cells is None else share_inside(cells, area, preprocess.crop)
    return Located(photo_box(area, size, preprocess), share, _reduced(values / values.max()))


def share_inside(cells: NDArray[np.float32], area: Area, crop: int) -> float | None:
    """Return which share of what speaks for a class lies in an area of the crop.

    Args:
        cells: float32 [p, p]: what each cell adds to the logit; what is below 0 speaks against the
            class and does not count. A cell that the area cuts counts in part.
        area: In pixels of the crop.
        crop: Its side.

    Returns:
        0 to 1; None if no cell speaks for the class.
    """
    positive = np.maximum(cells, 0).astype(np.float64)
    total = float(positive.sum())
    if not total > 0:
        return None
    edges = np.linspace(0, crop, len(cells) + 1)
    across, down = (
        np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
        / np.diff(edges)
        for start, end in ((area.xmin, area.xmax), (area.ymin, area.ymax))
    )
    return min(1.0, float(down @ positive @ across) / total)


def _reduced(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce a map to MOST_SIDE rows and columns at most: the largest of each square of values."""
    step = -(-len(values) // MOST_SIDE)
    if step == 1:
        return values
    side = -(-len(values) // step)
    padded = np.pad(values, (0, side * step - len(values)))
    reduced: NDArray[np.float32] = padded.reshape(side, step, side, step).max(axis=(1, 3))
    return reduced
