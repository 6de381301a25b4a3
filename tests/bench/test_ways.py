"""Ways to compute convolutions are measured in turns, and leave the service's own graphs alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.bench.ways import Ways, open_ways
from app.errors import SetupError
from app.weights.manifests import BUILT_IN, load_catalog


class Counting:
    """Notes the sizes of its batches in a list that all share."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def run(self, batch):
        """Run a batch."""
        self.log.append((self.name, len(batch)))
        return np.zeros((len(batch), 1000), np.float32)


def test_a_round_measures_every_way_at_every_size():
    """What the first did is returned; the medians are those of the others."""
    log: list[tuple[str, int]] = []
    sessions: Any = {name: Counting(name, log) for name in ("direct", "winograd", "auto")}
    ways = Ways(sessions, 8, (1, 2))

    rounds = [ways.round() for _ in range(3)]

    assert all({"1", "2"} == one.keys() for one in rounds)
    assert {"winograd", "auto"} == ways.medians().keys()
    assert {"1", "2"} == ways.medians()["auto"].keys()
    firsts = list(dict.fromkeys(log))
    assert [(name, size) for name in sessions for size in (1, 2)] == firsts
    assert sessions["direct"] is ways.first


def test_the_middle_of_the_rounds_counts():
    """Not the mean, which one slow round would move."""
    rates = (3.0, 99.0, 4.0)
    ways = Ways({}, 8, (1,), [{"winograd": {"1": rate}} for rate in rates])

    assert {"winograd": {"1": 4.0}} == ways.medians()


def test_a_ready_graph_has_no_ways(tmp_path):
    """It runs as it was made; said before anything is written."""
    ready = replace(load_catalog(BUILT_IN)["vgg16"], architecture=None, checkpoint=None, onnx="x")

    with pytest.raises(SetupError, match="ready graph"):
        open_ways(ready, ("direct",), model_dir=tmp_path, threads=1, images=4, sizes=(1,))

    assert [] == list(tmp_path.iterdir())
