"""A session that sees everything in one quarter of its image."""

import numpy as np

from app.records import Evidence
from tests.conftest import FakeSession

SECOND = 40
"""The class that is the second best of every image."""
KNOWN = 194
"""The class of the photo of the self-test."""


class ExplainingSession(FakeSession):
    """A model of 202 classes that sees everything in the top left quarter of its image."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.empty = False
        self.failure = None
        self.meanwhile = lambda: None

    @property
    def explainers(self):
        return [self]

    def run(self, batch):
        self.sizes.append(len(batch))
        return self._rows(batch)

    def run_keeping(self, batch):
        return self._rows(batch), {"images": len(batch)}

    def explain(self, _features, rows, classes, against=None, *, cells=True):
        self.asked.append((rows.tolist(), classes.tolist(), against.tolist()))
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        maps = np.zeros((*classes.shape, 4, 4), np.float32)
        parts = np.zeros((*classes.shape, 2, 2), np.float32)
        if not self.empty:
            maps[..., :2, :2] = 3.0
            parts[..., 0, 0], parts[..., 1, 1] = 3.0, 1.0
        logits = parts.sum(axis=(2, 3))
        return Evidence(maps, logits, parts, 0 * logits) if cells else Evidence(maps, logits)

    def _rows(self, batch):
        rows = np.full((len(batch), 202), 1e-4, np.float32)
        rows[:, KNOWN], rows[:, SECOND] = 0.75, 0.2
        return rows / rows.sum(axis=1, keepdims=True)
