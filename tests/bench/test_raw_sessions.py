from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.bench.raw_sessions import RawSessions, open_ways
from app.errors import SetupError
from app.service.settings import Settings
from app.weights.manifests import BUILT_IN, load_catalog


class RecordingSession:
    """Records its name and the sizes of its batches in a list that all sessions share."""

    device = "cpu"

    def __init__(self, name, log):
        self.name, self.log = name, log

    def run(self, batch):
        self.log.append((self.name, len(batch)))
        return np.zeros((len(batch), 1000), np.float32)


def test_a_round_times_every_way_at_every_size():
    """Ways take turns; the summary compares the others with the first."""
    log: list[tuple[str, int]] = []
    ways: Any = {name: RecordingSession(name, log) for name in ("direct", "winograd", "auto")}
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
