"""Weights of the two graphs of a network are in memory once, and are the same as if each had its own."""

import os
import subprocess
import sys

import numpy as np
import pytest

from app.graph.explain import EXPLAIN_FILE, resolved
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.records import Explanation
from app.runtime.cpu_session import CpuSession
from app.runtime.ort import CPU, open_graph
from app.runtime.shared_weights import shared_weights
from app.setup_errors import SessionError
from tests.graph.test_serving_graph import RGB, lively, photos, small


@pytest.fixture
def graph(tmp_path):
    """Write both graphs of a small network."""
    config = small("D")
    write_vgg(
        tmp_path, config, lively(config).items(), RGB, explanation=resolved(Explanation(), config)
    )
    return tmp_path / GRAPH_FILE


def test_both_graphs_name_them(graph):
    """They are the fully connected layers, as they are in the file."""
    found = shared_weights(graph, graph.with_name(EXPLAIN_FILE))

    layers = lively(small("D"))
    assert {
        f"{name}_{part}" for name in ("fc6", "fc7", "fc8") for part in ("weight", "bias")
    } == set(found)
    np.testing.assert_array_equal(layers["fc7"].weight, found["fc7_weight"].numpy())


def test_answers_are_the_same_bits(graph):
    """A session with its own mapping gives the same probabilities."""
    own = open_graph(graph, CPU, 1).run(["probabilities"], {"image": photos(3)})[0]

    np.testing.assert_array_equal(own, CpuSession(graph).run(photos(3)))


def test_a_graph_alone_shares_nothing(graph):
    """Without the graph that explains there is nothing to map."""
    graph.with_name(EXPLAIN_FILE).unlink()

    assert {} == shared_weights(graph, graph.with_name(EXPLAIN_FILE))
    assert [] == CpuSession(graph).explainers


def test_weights_that_were_cut(graph):
    """A file that is too short is noticed when it is loaded."""
    os.truncate(graph.with_name(WEIGHTS_FILE), 5000)

    with pytest.raises(SessionError, match="cut off"):
        CpuSession(graph)


RSS = """
import sys
import numpy as np
from pathlib import Path
from app.runtime.cpu_session import CpuSession


def rss():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))


session = CpuSession(Path(sys.argv[1]))
image = np.zeros((1, 64, 64, 3), np.uint8)
_, features = session.run_keeping(image)
before = rss()
session.explain(features, np.array([0]), np.array([[0, 1, 2, 3, 4]]))
print(rss() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_explanation_occupies_no_second_copy(tmp_path):
    """The first explanation needs little more memory, though it reads 64 MB of weights."""
    config = VggConfig("A", group_channels=(8,) * 5, hidden=(4096, 4096), side=64)
    write_vgg(
        tmp_path, config, lively(config).items(), RGB, explanation=resolved(Explanation(), config)
    )

    done = subprocess.run(
        [sys.executable, "-c", RSS, tmp_path / GRAPH_FILE],
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(done.stdout) < 20_000  # kB
