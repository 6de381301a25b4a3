"""What explanations cost and whether they add up, found out before a model is ready."""

from dataclasses import replace

import numpy as np
import pytest

from app.records import Evidence
from app.serving.explain_warmup import warm_up_explainers
from app.setup_errors import SessionError

GOLDEN = np.full((4, 4, 3), 9, np.uint8)


class FakeExplainer:
    """Evidence that adds up, but for `off`; records what it is asked."""

    def __init__(self, off=0.0):
        self.off = off
        self.asked = []

    def run_keeping(self, batch):
        rows = np.tile(np.array([0.2, 0.5, 0.3], np.float32), (len(batch), 1))
        assert (batch == GOLDEN).all()
        return rows, {"images": len(batch)}

    def explain(self, features, rows, classes, against=None, *, cells=True):
        assert 1 == features["images"]
        self.asked.append((rows.tolist(), classes.tolist(), against.tolist(), cells))
        ones = np.ones((*classes.shape, 2, 2), np.float32)
        constants = np.ones(classes.shape, np.float32)
        logits = constants * 5 * (1 + self.off)
        return Evidence(ones, logits, ones, constants) if cells else Evidence(ones, logits)


def test_a_photo_is_explained_once_and_as_often_as_a_batch_has_images():
    """Its most probable classes, at most as many as there are; the cost is per class."""
    explainers = [FakeExplainer(), FakeExplainer()]
    cost, factor = warm_up_explainers(explainers, GOLDEN, 3, 4, "float32")

    alone = [0], [[1, 2, 0]], [[-1, -1, -1]]
    full = [0] * 4, [[1, 2, 0]] * 4, [[-1, -1, -1]] * 4
    a_round = [(*one, cells) for one in (alone, full) for cells in (True, False)]
    assert [a_round * 5] * 2 == [one.asked for one in explainers]
    assert (3, 12) == tuple(size for size, _ in cost.measured)
    assert factor >= 1


@pytest.mark.parametrize(("precision", "off"), [("float32", 2e-4), ("float16", 0.1)])
def test_evidence_that_does_not_add_up_fails_the_start(precision, off):
    """A graph that was built wrongly explains nothing; less than that is rounding."""
    warm_up_explainers([FakeExplainer(off / 10)], GOLDEN, 3, 1, precision)
    with pytest.raises(SessionError, match="does not add up"):
        warm_up_explainers([FakeExplainer(), FakeExplainer(off)], GOLDEN, 3, 1, precision)


def test_evidence_that_is_no_number_fails_the_start():
    """It is not taken for a small difference."""

    class Broken(FakeExplainer):
        def explain(self, *arguments, **options):
            found = super().explain(*arguments, **options)
            return replace(found, logits=found.logits * np.nan)

    with pytest.raises(SessionError):
        warm_up_explainers([Broken()], GOLDEN, 3, 1, "float32")
