"""Answers that are the same everywhere, and classes to name."""

import numpy as np
import pytest

from app.evaluation.classes import Classes
from app.records import Label

LABELS = (
    Label("n02012849", "crane"),
    Label("n03126707", "crane"),
    Label("n01440764", "tench, Tinca tinca"),
    Label("n02123045", "tabby, tabby cat"),
    Label(None, "7"),
    Label(None, "Hot-dog"),
    Label(None, "pizza"),
)


def made(photos: int = 500, classes: int = 7, seed: int = 0):
    """Return probabilities float32 [photos, classes] and labels, by formula: no generator's streams."""
    numbers = np.arange(photos * classes, dtype=np.float64).reshape(photos, classes) + 1000 * seed
    powers = np.exp(3 * np.sin(12.9898 * numbers))
    rows = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    noise = np.sin(78.233 * numbers[:, 0])
    labels = np.where(noise > 0, rows.argmax(axis=1), np.arange(photos) % classes)
    return rows, labels.astype(np.int64)


@pytest.fixture(scope="session")
def classes():
    """Seven classes, two of which are both called crane."""
    return Classes(LABELS)


@pytest.fixture(scope="session")
def stats():
    """scipy.stats."""
    return pytest.importorskip("scipy.stats", reason="no scipy")


@pytest.fixture(scope="session")
def sklearn():
    """scikit-learn, with its metrics and its calibration."""
    for part in ("sklearn.metrics", "sklearn.calibration"):
        pytest.importorskip(part, reason="no scikit-learn")
    return pytest.importorskip("sklearn")
