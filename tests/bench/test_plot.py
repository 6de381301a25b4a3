from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from app.bench.axes import load_scale, tick_label, value_scale
from app.bench.pictures import Picture
from app.bench.plan import Closed, Open, Plan
from app.bench.plot import plot_svg
from app.bench.raw import summarise_rounds
from app.bench.report import make_report
from app.bench.series import Series
from app.bench.summary import summarise
from app.bench.target import make_target
from tests.bench.conftest import run_of, sample

SVG = "{http://www.w3.org/2000/svg}"


def report_of(loads, *samples, url="http://h", raw=None):
    runs = {load: [summarise(run_of(*samples, load=load))] for load in loads}
    return make_report(
        Series(served=runs),
        Plan(tuple(loads)),
        url=url,
        target=make_target(url, [Picture("p", b"x")]),
        pictures=[],
        raw=raw,
    )


def texts(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 (our own)


def test_plot_is_well_formed_and_says_what_it_shows():
    """An SVG with a title, panels, units and the loads as ticks; whatever the URL holds."""
    many = [sample(101, 0.1, batch_size=4)] * 200
    raw = summarise_rounds([{"8": 99.0}], model="vgg16", trained=True, device="cpu", threads=2)
    shown = texts(plot_svg(report_of([Closed(1), Closed(64)], *many, url="http://h/<&>", raw=raw)))

    assert "http://h/<&> (vgg16)" == shown[0]
    for text in (
        "Answers per second",
        "Latency of 200s (milliseconds)",
        "Batch size (images, mean over requests)",
        "session.run alone, batches of 8",
        "connections, each with one request at a time (closed loop)",
        "64",
    ):
        assert text in shown


def test_plot_without_answers_is_still_one():
    """Where nothing was answered there is nothing to draw, and no error."""
    shown = texts(plot_svg(report_of([Open(5), Open(50)], sample(101, 0.1, 503))))

    assert "429s and 503s" in shown
    assert "Latency of 200s (milliseconds)" not in shown
    assert texts(plot_svg(report_of([Open(5), Open(50)])))


def test_plot_has_both_colour_schemes():
    """The picture follows the reader's colour scheme."""
    assert "prefers-color-scheme: dark" in plot_svg(report_of([Closed(1), Closed(2)]))


def test_points_lie_in_the_panel():
    """Every mark is inside the picture, the highest value of a panel too."""
    report = report_of([Closed(1), Closed(4)], *[sample(101, 0.1)] * 200)
    high = replace(report.points[1], median=replace(report.points[1].median, goodput_highest=987))
    root = ET.fromstring(plot_svg(replace(report, points=(report.points[0], high))))  # noqa: S314 (our own)

    marks = list(root.iter(f"{SVG}circle"))
    assert marks
    assert all(0 < float(mark.get("cx")) < 760 for mark in marks)  # type: ignore[arg-type] # it is there
    assert all(float(line.get("y2")) > 0 for line in root.iter(f"{SVG}line"))  # type: ignore[arg-type] # it is there


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.7], ["0", "0.2", "0.4", "0.6", "0.8"]),
        ([411.8, 280], ["0", "100", "200", "300", "400", "500"]),
        ([16], ["0", "5", "10", "15", "20"]),
        ([3, 2500], ["1", "10", "100", "1,000", "10,000"]),
        ([], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([0.0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_ticks_are_round(values, ticks):
    """A scale holds its values and is marked at round numbers; by decades if they lie far apart."""
    scale = value_scale(values)

    assert ticks == [tick_label(tick) for tick in scale.ticks]
    assert all(0 <= scale.place(value) <= 1 for value in values)


def test_doubling_loads_are_equally_far_apart():
    """1, 4, 16, 64 are marked at equal distances; a single load is in the middle."""
    scale = load_scale([1, 4, 16, 64], doubling=True)

    assert [0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1] == [
        scale.place(load) for load in scale.ticks
    ]
    assert pytest.approx(0.5) == load_scale([8], doubling=True).place(8)
