import html
import re
import sys
from pathlib import Path

import pytest

from app.bench.loops import Closed, Open, Plan
from app.bench.plot import figure_class, save_plot
from app.bench.report import make_report
from app.bench.series import Series
from app.bench.summary import summarise
from app.bench.target import Picture, make_target
from app.setup_errors import SetupError
from tests.bench.conftest import raw_of, run_of, sample


def plot(file, loads, *samples, url="http://h", raw=None):
    """Draw a report of these loads into a file."""
    report = make_report(
        Series(served={load: [summarise(run_of(*samples))] for load in loads}),
        Plan(tuple(loads)),
        make_target(url, [Picture("p", b"x")]),
        raw,
    )
    save_plot(report, file)


def texts(file):
    """Return the texts of an SVG by matplotlib, which draws glyphs and comments on them."""
    return {
        html.unescape(text) for text in re.findall("<!-- (.*?) -->", file.read_text(), re.DOTALL)
    }


def test_plot_shows_every_figure_with_its_unit(tmp_path):
    """An SVG has a title, panels, a legend, units, and the loads as ticks, whatever the URL holds."""
    many = [sample(101, 0.1, batch_size=4)] * 200
    raw = raw_of({None: {"8": 99.0}}, model="vgg16")
    plot(tmp_path / "p.svg", [Closed(1), Closed(64)], *many, url="http://h/&$a_b$", raw=raw)

    assert {
        "http://h/&$a_b$ (vgg16)",
        "Answers per second",
        "Latency of 200s (milliseconds)",
        "Batch size (images, mean over requests)",
        "session.run alone, batches of 8",
        "connections, each with one request at a time (closed loop)",
        "64",
    } <= texts(tmp_path / "p.svg")


@pytest.mark.parametrize("samples", [(), (sample(101, 0.1, 503),)])
def test_plot_without_answers_is_still_one(tmp_path, samples):
    """Open loops without a single 200 are drawn without an error."""
    plot(tmp_path / "p.svg", [Open(5), Open(50)], *samples)

    assert bool(samples) == ("429s and 503s" in texts(tmp_path / "p.svg"))


def test_plot_can_be_a_png(tmp_path):
    """The suffix of the file chooses the format."""
    plot(tmp_path / "p.png", [Closed(1), Closed(2)], sample(101, 0.1))

    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_says_how_to_install_it(monkeypatch):
    """The error names the package and the command, before anything is measured."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(SetupError, match=r"needs matplotlib.* -m pip install matplotlib"):
        figure_class(Path("p.svg"))


def test_plot_of_another_format_is_refused():
    """A suffix other than .svg and .png is refused before anything is measured."""
    with pytest.raises(SetupError, match=r"p\.gif: expected .* \.svg or \.png"):
        figure_class(Path("p.gif"))
