"""How far the answers of an int8 graph are from those of float32, and how many may differ."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.records import ProbabilityBatch
from app.setup_errors import CalibrationError

AGREEMENT_FILE: Final = "agreement.json"
LEAST_SAME_FIRST: Final = 0.9
"""Share of images whose first answer has to be that of float32."""
_FIVE: Final = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """The answers of int8 beside those of float32, for the calibration photos and the held-back ones.

    Attributes:
        source: What the photos are, in words.
        photos_sha256: Of the photos together.
        calibrated: Images that the ranges come from.
        held_back: Further images, on which nothing depends.
        same_first: Share of all images with the same most probable class.
        same_five: Share of those with the same five most probable classes, in any order.
        mean_difference: Of the probability of float32's first answer.
        largest_difference: Of the probability of any class.
    """

    source: str
    photos_sha256: str
    calibrated: int
    held_back: int
    same_first: float
    same_five: float
    mean_difference: float
    largest_difference: float

    def __str__(self) -> str:
        """Return it as a line of the log."""
        return (
            f"int8 gives float32's first answer for {100 * self.same_first:.1f} % of"
            f" {self.calibrated + self.held_back} images, its five for {100 * self.same_five:.1f} %;"
            f" a probability differs by {self.mean_difference:.4f} on average, by"
            f" {self.largest_difference:.3f} at most; calibrated on {self.source}"
        )

    def check(self) -> None:
        """Raise a CalibrationError if too few first answers are the same."""
        if self.same_first < LEAST_SAME_FIRST:
            raise CalibrationError(
                f"int8 is not near enough to float32 with these weights: {self}. It needs"
                f" {100 * LEAST_SAME_FIRST:.0f} %. Calibrate on more photos of what will be"
                " classified (VGG_CALIBRATION_DIR, some 100), or set VGG_PRECISION=float32."
            )


def compare(exact: ProbabilityBatch, int8: ProbabilityBatch) -> dict[str, float]:
    """Compare the answers to the same images; see Agreement for the four numbers."""
    first, five = exact.argmax(axis=1), _best(exact)
    rows = np.arange(len(exact))
    off = np.abs(exact.astype(np.float64) - int8)
    return {
        "same_first": float((first == int8.argmax(axis=1)).mean()),
        "same_five": float((five == _best(int8)).all(axis=1).mean()),
        "mean_difference": float(off[rows, first].mean()),
        "largest_difference": float(off.max()),
    }


def save_agreement(folder: Path, agreement: Agreement) -> None:
    """Write AGREEMENT_FILE beside a serving graph."""
    text = json.dumps(asdict(agreement), indent=2)
    (folder / AGREEMENT_FILE).write_text(text, encoding="utf-8")


def read_agreement(folder: Path) -> Agreement | None:
    """Read what was written beside a serving graph; None if it is not an int8 graph."""
    path = folder / AGREEMENT_FILE
    return Agreement(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _best(rows: ProbabilityBatch) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return the five most probable classes of each row, sorted by number."""
    return np.sort(np.argsort(-rows, axis=1, kind="stable")[:, :_FIVE], axis=1)
