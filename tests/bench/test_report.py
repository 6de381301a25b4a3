import json
from dataclasses import asdict

import pytest
from rich.console import Console

from app.bench.loops import Closed, Open, Plan
from app.bench.report import make_report, report_tables, to_json
from app.bench.series import Series
from app.bench.summary import summarise
from app.bench.target import Picture, make_target
from tests.bench.conftest import raw_of, run_of, sample

REFUSAL = '{"title": "busy", "detail": "Try [later]."}'


def report_of(*loads, interrupted=False):
    samples = [sample(101, 0.02 + n / 10_000, batch_size=8) for n in range(300)]
    samples += [sample(102, 0.001, 503, retry_after=2.0, detail=REFUSAL), sample(102, 5, 0)]
    runs = [summarise(run_of(*samples)), summarise(run_of(*samples, sample(103, 0.1)))]
    raw = raw_of(*[{None: {"1": 20.0, "8": 33.0}}] * 2, model="vgg16", trained=False)
    plan = Plan(tuple(loads), repeats=2)
    series = Series(served=dict.fromkeys(loads, runs), interrupted=interrupted)
    picture = Picture("500x375", b"12345")
    target = make_target("http://h", [picture], headers=["Authorization: secret"])
    return make_report(series, plan, target, raw)


def shown(report, width=80):
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(report_tables(report))
    return capture.get()


def test_report_survives_json():
    """JSON holds what was measured: settings, machine, every run."""
    report = report_of(Closed(16), Open(50))
    read = json.loads(to_json(report))

    assert json.loads(json.dumps(asdict(report))) == read
    assert ("closed", 16, "16 connections") == tuple(
        read["points"][0][key] for key in ("kind", "value", "label")
    )
    assert 2 == len(read["points"][1]["runs"])
    assert 10 == len(read["points"][0]["runs"][0]["per_second"])
    assert {"300", "601"} >= {str(read["points"][0]["median"]["codes"]["200"])}
    assert pytest.approx(30.05 / 33.0) == read["points"][0]["of_raw"]
    assert {"cpu", "cpus_usable", "cpus_of_host", "platform", "python"} == set(read["machine"])
    assert {"vgg-serve", "numpy"} <= set(read["versions"])
    assert [{"name": "500x375", "bytes": 5, "mime": "image/jpeg"}] == read["pictures"]
    assert "/predict" == read["settings"]["path"]
    assert ["Authorization"] == read["settings"]["headers"]
    assert "secret" not in to_json(report)


def test_table_shows_what_matters():
    """Throughput and its share of session.run, latencies, refusals, failures, batches, lateness."""
    text = shown(report_of(Closed(16)))

    for expected in (
        "vgg16 (untrained), 2 threads",
        "16 connections",
        "n = 601",
        "p99.9                            n/a",
        "Retry-After (s)                    2",
        "200: 601",
        "503: 2",
        "timed out: 2",
        "100.0%",
        "0 of 605",
        "503: Try [later].",
    ):
        assert expected in text, text
    assert "0.911" in text


def test_many_loads_go_below_each_other():
    """No table is wider than the terminal, and no load is lost."""
    text = shown(report_of(*(Closed(n) for n in (1, 2, 4, 8, 16, 32))))

    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(
        label in text for label in (" 1 connection ", " 8 ", "16 connections", "32 connections")
    )


def test_early_end_is_reported():
    """A report that Ctrl-C cut short says so, even an empty one."""
    assert "Ended early" in shown(report_of(Closed(1), interrupted=True))
    assert "Ended early" in shown(report_of(interrupted=True))
