from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.bench.raw import SIZES, RawSessions, measure_round, open_ways
from app.service.settings import Settings
from app.setup_errors import SetupError
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.bench.conftest import Session, raw_of


def test_every_batch_size_is_run():
    """Each size is run at least four times, of which the first is a warm-up."""
    shapes = []

    def run(batch):
        shapes.append(batch.shape)
        return np.zeros((len(batch), 1000), np.float32)

    rates = measure_round(run, 8, sizes=(1, 4))

    assert ["1", "4"] == list(rates)
    assert {(1, 8, 8, 3), (4, 8, 8, 3)} == set(shapes)
    assert all(shapes.count(shape) >= 4 for shape in set(shapes))
    assert all(rate > 0 for rate in rates.values())
    assert (1, 2, 4, 8, 16) == SIZES


def test_best_size_is_that_of_the_median():
    """A single lucky round does not make the limit."""
    rounds = [{"1": 10.0, "8": 30.0}, {"1": 99.0, "8": 32.0}, {"1": 12.0, "8": 31.0}]
    raw = raw_of(*({None: one} for one in rounds))

    assert tuple(rounds) == raw.rounds
    assert {"1": 12.0, "8": 31.0} == raw.images_per_second
    assert (8, 31.0, None, {}) == (raw.best_size, raw.best, raw.way, raw.beside)


def test_other_ways_are_medians_too():
    """Each way has its median, not its mean, which one slow round would move."""
    raw = raw_of(*({"direct": {"1": 2.0}, "winograd": {"1": rate}} for rate in (3.0, 99.0, 4.0)))

    assert ("direct", {"1": 2.0}) == (raw.way, raw.images_per_second)
    assert {"winograd": {"1": 4.0}} == raw.beside


def test_a_round_times_every_way_at_every_size():
    """Ways take turns; the summary compares the others with the first."""
    log: list[tuple[str, int]] = []
    ways: Any = {name: Session(name, log) for name in ("direct", "winograd", "auto")}
    sessions = RawSessions("m", 8, trained=False, threads=2, sizes=(1, 2), sessions=ways)

    rounds = [sessions.round() for _ in range(3)]
    summary = sessions.summarise(rounds)

    firsts = list(dict.fromkeys(log))
    assert [(name, size) for name in ways for size in (1, 2)] == firsts
    assert all({"1", "2"} == rates.keys() for one in rounds for rates in one.values())
    assert ("m", False, "cpu", 2) == (
        summary.model,
        summary.trained,
        summary.device,
        summary.threads,
    )
    assert ("direct", ["winograd", "auto"]) == (summary.way, list(summary.beside))


def test_a_ready_graph_has_no_ways(tmp_path):
    """The convolutions of a ready graph are fixed; it is refused before anything is written."""
    ready = replace(load_catalog(BUILT_IN)["vgg16"], architecture=None, checkpoint=None, onnx="x")

    with pytest.raises(SetupError, match="ready graph"):
        open_ways(Settings(model_dir=tmp_path, device="cpu"), ready, ("direct",))

    assert [] == list(tmp_path.iterdir())
