import math
from itertools import pairwise

import pytest

from app.bench.plan import Closed, Open, choose_loads, poisson_arrivals
from app.errors import SetupError


def test_arrivals_are_the_same_on_every_machine():
    """A seed draws these very times."""
    assert [
        pytest.approx(0.0144291064, abs=1e-9),
        pytest.approx(0.2024447330, abs=1e-9),
        pytest.approx(0.3467416255, abs=1e-9),
    ] == poisson_arrivals(10, 0.36, seed=1)
    assert poisson_arrivals(10, 5, seed=2) != poisson_arrivals(10, 5, seed=3)


def test_arrivals_are_a_poisson_process():
    """As many as the rate says, and times between them whose spread equals their mean."""
    arrivals = poisson_arrivals(100, 200, seed=1)
    between = [b - a for a, b in pairwise(arrivals)]
    mean = sum(between) / len(between)
    spread = math.sqrt(sum((one - mean) ** 2 for one in between) / len(between))

    assert arrivals == sorted(arrivals)
    assert 200 > arrivals[-1]
    assert pytest.approx(20_000, rel=0.03) == len(arrivals)
    assert pytest.approx(mean, rel=0.03) == spread


def test_options_choose_the_loads():
    """One closed loop, a sweep of them, or open ones."""
    assert (Closed(16),) == choose_loads(16, None, None)
    assert (Closed(1), Closed(4)) == choose_loads(16, "1, 4", None)
    assert (Open(5), Open(7.5), Open(9)) == choose_loads(16, None, ["5,7.5", "9"])
    assert ["1 connection", "7.5/s"] == [Closed(1).label, Open(7.5).label]


@pytest.mark.parametrize(
    ("sweep", "rates", "word"),
    [
        ("1", ["5"], "Give one of them"),
        ("1,x", None, "'x'"),
        ("1.5", None, "whole"),
        (None, ["0"], "'0'"),
        (None, ["5,"], "''"),
        (None, ["nan"], "'nan'"),
        (None, ["inf"], "'inf'"),
    ],
)
def test_impossible_loads_are_refused(sweep, rates, word):
    """Values that are not numbers above 0, or two kinds of loop at once, are refused."""
    with pytest.raises(SetupError, match=word):
        choose_loads(16, sweep, rates)
