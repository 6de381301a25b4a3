"""A sweep as a picture: throughput, latency and batch size against load, drawn by matplotlib."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.bench.report import Point, Report
from app.setup_errors import SetupError

_SUFFIXES: Final = (".svg", ".png")


def figure_class(file: Path) -> Any:  # noqa: ANN401 (a class of an optional package)
    """Return matplotlib's Figure; raise now what would otherwise fail after the measurement."""
    if file.suffix.lower() not in _SUFFIXES:
        raise SetupError(f"--plot {file}: expected a file name that ends with .svg or .png.")
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as exc:
        raise SetupError(
            "--plot needs matplotlib, which is not installed."
            f" Install it with: {sys.executable} -m pip install matplotlib"
        ) from exc


def save_plot(report: Report, file: Path) -> None:
    """Draw the points of a report, at least one; all of them are closed loops, or all open."""
    points = sorted(report.points, key=lambda point: point.value)
    figure = figure_class(file)(figsize=(8, 9), layout="constrained")
    figure.suptitle(_title(report), parse_math=False)
    throughput, latency, batches = figure.subplots(3, sharex=True)
    _draw_throughput(throughput, points, report)
    latency.set_title("Latency of 200s (milliseconds)")
    _line(latency, points, [p.median.answered.p99 for p in points], "p99")
    _line(latency, points, [p.median.answered.p50 for p in points], "p50")
    batches.set_title("Batch size (images, mean over requests)")
    _line(batches, points, [p.median.mean_batch_size for p in points], "mean")
    for axes in (throughput, latency, batches):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    if points[0].kind == "closed":
        batches.set_xscale("log", base=2)
        loads = [point.value for point in points]
        batches.set_xticks(loads, [f"{load:g}" for load in loads])
        batches.set_xlabel("connections, each with one request at a time (closed loop)")
    else:
        batches.set_xlabel("offered load: requests per second (open loop, Poisson arrivals)")
    figure.savefig(file)


def _draw_throughput(axes: Any, points: Sequence[Point], report: Report) -> None:  # noqa: ANN401 (the same)
    axes.set_title("Answers per second")
    rates = [p.median.goodput for p in points]
    below = [p.median.goodput - p.median.goodput_lowest for p in points]
    above = [p.median.goodput_highest - p.median.goodput for p in points]
    axes.errorbar([p.value for p in points], rates, (below, above), marker="o", label="200s")
    refused = [p.median.refused.samples / (p.median.seconds or 1) for p in points]
    if any(refused):
        _line(axes, points, refused, "429s and 503s")
    if report.raw is not None:
        label = f"session.run alone, batches of {report.raw.best_size}"
        axes.axhline(report.raw.best, linestyle="--", color="grey", label=label)


def _line(axes: Any, points: Sequence[Point], values: Sequence[float | None], label: str) -> None:  # noqa: ANN401 (the same)
    """Draw the values that are known."""
    known = [(p.value, value) for p, value in zip(points, values, strict=True) if value is not None]
    axes.plot([load for load, _ in known], [value for _, value in known], marker="o", label=label)


def _title(report: Report) -> str:
    model = f" ({report.raw.model})" if report.raw else ""
    repeats = max(len(point.runs) for point in report.points)
    return (
        f"{report.url}{model}\n{report.machine['cpu']}, {report.machine['cpus_usable']} processors;"
        f" {report.settings['seconds']:g} s per run, median of {repeats}; {report.made[:10]}"
    )
