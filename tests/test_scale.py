"""docs/scale.md: its numbers follow from what was measured."""

import httpx

from tests.conftest import PHOTOS, running_server
from tests.scale_arithmetic import PAGE, SERIES, page, replicas, table


def test_the_tables_are_computed():
    """The page shows what `python -m tests.scale_arithmetic` makes of the figures written down."""
    assert page() == PAGE.read_text(), "run: python -m tests.scale_arithmetic"


def test_replicas_are_rounded_up():
    """A rate that one replica cannot plan with takes two, and ten times the rate ten times as many."""
    one = replicas()[0]
    rows = [table(rate, 1e5)[4].split("|") for rate in (1, int(one.photos_per_second), 2400)]

    assert ["1", "2"] == [row[3].strip() for row in rows[:2]]
    assert -(-2400 // (0.7 * one.photos_per_second)) == int(rows[2][3])
    assert one.cores * int(rows[2][3]) == int(rows[2][4])


def test_series_of_a_replica(tmp_path):
    """A server that has answered has as many as the page says, and 7 more with a baseline."""
    with running_server(tmp_path, models="vgg16-mini") as server:
        httpx.post(f"{server.url}/predict", content=(PHOTOS / "coffee.jpg").read_bytes())
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()

    assert SERIES + 7 == sum(not line.startswith("#") for line in lines)
