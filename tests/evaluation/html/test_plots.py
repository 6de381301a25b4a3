"""Plots are small, speak, and take the colours of the page; without matplotlib there is a sentence."""

import re
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from app.evaluation.html.plots import Point, intervals, matplotlib, reliability
from app.setup_errors import SetupError

BINS: list[dict[str, Any]] = [
    {"up_to": 0.5, "n": 0, "mean_probability": None, "top1": None},
    {"up_to": 1.0, "n": 9, "mean_probability": 0.7, "top1": 0.8},
]


def texts(svg):
    """Return the texts of a plot."""
    return [one.text for one in ET.fromstring(svg).iter() if one.tag.endswith("text")]  # noqa: S314 (our own)


def test_the_reliability_diagram_has_its_axes(library):
    """An empty bin has no point."""
    svg = reliability(library, BINS, "A <title>")

    assert {"share of right answers", "photos", "probability of the first answer", "gap"} <= set(
        texts(svg)
    )
    assert '<title id="reliability-title">A &lt;title&gt;</title>' in svg
    assert len(svg) < 40_000


def test_points_have_their_names_whatever_those_are(library):
    """Mathematics, tags, quotes, long ones, letters of another font; a mark for those that matter."""
    names = ["$a_b$", '<x> & "y"', "a" * 60, "_", "$東京"]
    points = [Point(name, 0.5, 0.4, 0.6, marked=name == "_") for name in names]
    svg = intervals(library, "n", "t", points, 0.45, "share")

    assert ["$a_b$", '<x> & "y"', f"{'a' * 35}…", "_", "$東京"] == [
        one for one in texts(svg) if one[0] in "$<a_"
    ]
    assert "var(--warning)" in svg


def test_plots_are_the_same_each_time_and_do_not_share_ids(library):
    """So that two of them can stand in one page."""
    points = [Point("a", 0.5, 0.4, 0.6)]
    first, again = (intervals(library, "one", "t", points, None, "x") for _ in range(2))
    other = intervals(library, "two", "t", points, None, "x")
    ids = [set(re.findall(r'id="(.*?)"', svg)) for svg in (first, other)]

    assert first == again
    assert set() == ids[0] & ids[1]
    assert "font-family: inherit" in first
    assert "DejaVu" not in first


def test_the_settings_of_matplotlib_stay(library):
    """Those of the process are as before."""
    rc = sys.modules["matplotlib"].rcParams
    before = dict(rc)
    intervals(library, "one", "t", [Point("a", 0.5, 0.4, 0.6)], None, "x")

    assert before == dict(rc)


def test_without_matplotlib_a_sentence_says_how_to_install_it(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(SetupError, match=r"--html needs matplotlib.* -m pip install matplotlib"):
        matplotlib()
