"""What is told of a device: whether float16 agrees, and how near its limit the runs come."""

from functools import partial

import numpy as np
import pytest
from rich.console import Console

from app.bench.card import ZOOMS, Agreement, Card, compare, limits, time_torch, views
from app.bench.card_table import card_table
from app.bench.limit import sample_photos
from app.bench.raw import summarise_rounds
from app.bench.roofline import Peaks
from app.bench.torch_side import find_torch, torch_run
from app.graph.vgg import VggConfig
from tests.graph.test_serving_graph import RGB, SIDE, photos, small


def answers(best, probability):
    """Make a run that gives one class to the first half of the brightnesses and one to the rest."""

    def run(batch):
        rows = np.full((len(batch), 1000), 1e-6, np.float32)
        rows[:, :5] = [0.05, 0.04, 0.03, 0.02, 0.01]
        rows[:, best] = probability
        return rows

    return run


def test_agreement():
    """Differences, first classes and sets of five are what they are."""
    pictures = photos(10)
    same = compare(answers(7, 0.5), answers(7, 0.503), pictures)
    other = compare(answers(7, 0.5), answers(8, 0.5), pictures)

    assert pytest.approx(0.003, rel=1e-3) == same.largest
    assert (10, 1.0, 1.0, True) == (
        same.pictures,
        same.same_first,
        same.same_five,
        same.holds,
    )
    assert (0.0, 0.0, False) == (other.same_first, other.same_five, other.holds)


def test_views_are_inputs():
    """Each sample photo gives an input for each zoom, none like another."""
    pictures = views(sample_photos(), RGB)

    assert (len(sample_photos()) * len(ZOOMS), SIDE, SIDE, 3) == pictures.shape
    assert np.uint8 == pictures.dtype
    assert len(pictures) == len({picture.tobytes() for picture in pictures})


def told(card, rounds):
    """Print the table as a terminal would show it."""
    raw = summarise_rounds(rounds, model="vgg16", trained=True, device="cuda", threads=2)
    console = Console(width=140, record=True, force_terminal=False, file=None, quiet=False)
    with console.capture() as capture:
        console.print(card_table(card, raw))
    return capture.get()


def test_table():
    """Rates stand beside the limit of the device and beside PyTorch."""
    peaks = Peaks("float16", operations=100e12, bandwidth=1e30)
    config = VggConfig("D")
    card = Card(
        Agreement(42, 0.002, 1.0, 1.0),
        peaks,
        2 * config.multiply_adds(),
        limits(config, peaks, (1, 8)),
        {"1": 500.0, "8": 1000.0},
        "",
    )
    text = told(card, [{"1": 600.0, "8": 1616.0}])

    assert "42 pictures" in text
    assert "within the bounds" in text
    assert "100.00 TFLOP/s" in text
    assert "3,231.9" in text.replace("3,232.0", "3,231.9")  # 100e12 / 30.94e9
    assert "50%" in text
    assert "1.62" in text


def test_table_without_torch():
    """What could not be measured is said."""
    card = Card(None, Peaks("float32", 1e11, 1e10), 0, {}, {}, "PyTorch is not installed")
    text = told(card, [{"1": 1.0}])

    assert "not measured, PyTorch is not installed" in text
    assert "float16 against" not in text


@pytest.mark.torch
@pytest.mark.parametrize("configuration", ["A", "C", "D", "E"])
def test_torch_runs_the_same_network(configuration):
    """PyTorch's side takes our pixels and gives rows, for each network of the family."""
    torch = pytest.importorskip("torch", reason="needs PyTorch", exc_type=ImportError)
    make = partial(
        torch_run,
        torch,
        small(configuration),
        RGB,
        place="cpu",
        precision="float32",
        compiled=False,
    )
    rows = make()(photos(3))

    assert (3, 1000) == rows.shape
    assert pytest.approx([1, 1, 1], abs=1e-5) == rows.sum(axis=1)
    rates = time_torch(make, SIDE, (1, 2), rounds=2)
    assert ["1", "2"] == list(rates)
    assert all(rate > 0 for rate in rates.values())


def test_torch_that_is_not_there():
    """Without PyTorch, or without its GPU, the reason is given in words."""
    found = find_torch("cuda")

    assert not isinstance(found, str) or "PyTorch" in found
