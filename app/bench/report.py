"""The measurement as JSON (settings, machine, every run, the medians) and as tables for a terminal."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from app import __version__
from app.bench.loops import Plan
from app.bench.raw import RawSummary
from app.bench.series import Series
from app.bench.summary import Latency, Summary, combine
from app.bench.target import Target
from app.machine import usable_cpus

_PACKAGES: Final = (
    "onnxruntime", "onnxruntime-gpu", "torch", "numpy", "pillow", "httptools", "uvloop",
)  # fmt: skip
_ACROSS: Final = 4
"""Loads side by side; further ones go into a table below."""
_FEW: Final = 10
_DETAIL_CHARACTERS: Final = 200
_UNKNOWN: Final = "n/a"
_PERCENTILES: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max"}


@dataclass(frozen=True, slots=True)
class Point:
    """One load with its runs.

    Attributes:
        of_raw: Goodput over the best rate of session.run alone; None if that was not timed.
    """

    kind: str
    value: float
    label: str
    of_raw: float | None
    median: Summary
    runs: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A measurement: when (ISO 8601, UTC), of which server, on which machine, and its results."""

    made: str
    url: str | None
    settings: dict[str, object]
    pictures: tuple[dict[str, object], ...]
    machine: dict[str, str | int]
    versions: dict[str, str]
    interrupted: bool
    raw: RawSummary | None
    points: tuple[Point, ...]


def make_report(
    series: Series, plan: Plan, target: Target | None, raw: RawSummary | None
) -> Report:
    """Describe what was measured, with which settings, and where; no target without a server."""
    settings: dict[str, object] = {"repeats": plan.repeats}
    if target is not None:
        settings = asdict(plan) | {"loads": [load.label for load in plan.loads]}
        # Names of headers only: a value may be a password.
        settings |= {"path": target.path, "field": target.field, "headers": target.headers}
    points = []
    for load, runs in series.served.items():
        median = combine(runs)
        share = median.goodput / raw.best if raw else None
        points.append(Point(load.kind, load.value, load.label, share, median, tuple(runs)))
    pictures = target.pictures if target else ()
    return Report(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        url=target.url if target else None,
        settings=settings,
        pictures=tuple({"name": p.name, "bytes": len(p.data), "mime": p.mime} for p in pictures),
        machine=describe_machine(),
        versions=versions(),
        interrupted=series.interrupted,
        raw=raw,
        points=tuple(points),
    )


def to_json(report: Report) -> str:
    """Write a report as JSON; unknown values are null."""
    return json.dumps(asdict(report), indent=2, allow_nan=False) + "\n"


def report_tables(report: Report) -> RenderableType:
    """Lay out a report: the machine, session.run alone, and a column for each load."""
    machine = report.machine
    where = (
        f"[dim]{escape(str(machine['cpu']))}, {machine['cpus_usable']} of"
        f" {machine['cpus_of_host']} processors, {machine['python']}[/]"
    )
    parts: list[RenderableType] = [where]
    if report.interrupted:
        parts.append("[yellow]Ended early: these are the results up to then.[/]")
    if report.raw is not None:
        parts += [_raw_title(report.raw), _raw_table(report.raw)]
    if report.points:
        repeats = max(len(point.runs) for point in report.points)
        median = f", median of {repeats} runs each" if repeats > 1 else ""
        parts.append(f"\n[bold]{escape(str(report.url))}[/]{median}")
        starts = range(0, len(report.points), _ACROSS)
        parts += [_served_table(report.points[start:][:_ACROSS]) for start in starts]
        parts.append(_notes(report))
    return Group(*parts)


def _raw_title(raw: RawSummary) -> str:
    untrained = "" if raw.trained else " (untrained)"
    where = f"{raw.threads} thread{'s' * (raw.threads > 1)}" if raw.device == "cpu" else raw.device
    rounds = f", median of {len(raw.rounds)} rounds" if len(raw.rounds) > 1 else ""
    return f"\n[bold]session.run alone[/]: {escape(raw.model)}{untrained}, {where}{rounds}"


def _raw_table(raw: RawSummary) -> Table:
    rates = raw.images_per_second
    best = max([raw.best, *(max(other.values()) for other in raw.beside.values())])
    table = Table(box=None, header_style="bold")
    table.add_column("batch size")
    for size in rates:
        table.add_column(size, justify="right")

    def add(way: str | None, row: dict[str, float]) -> None:
        cells = (f"[bold]{_number(x)}[/]" if x == best else _number(x) for x in row.values())
        table.add_row(f"images/s, {way}" if way else "images/s", *cells)

    add(raw.way, rates)
    for way, other in raw.beside.items():
        add(way, other)
        ratios = (f"{other[size] / rate:.2f} x" for size, rate in rates.items())
        table.add_row(f"  {way} / {raw.way}", *ratios)
    return table


def _served_table(points: Sequence[Point]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    for point in points:
        table.add_column(point.label, justify="right")
    medians = [point.median for point in points]

    def add(name: str, cells: Iterable[str], style: str = "") -> None:
        """Add a row, unless all its cells are empty."""
        if any(row := list(cells)):
            table.add_row(name, *(cell or "[dim]-[/]" for cell in row), style=style)

    def add_latencies(title: str, latencies: Sequence[Latency]) -> None:
        add(title, (f"n = {latency.samples:,}" for latency in latencies))
        for name, key in _PERCENTILES.items():
            add(f"  {name}", (_milliseconds(latency, key) for latency in latencies))

    add("200s per second", (_number(m.goodput) for m in medians), "bold")
    add("  lowest - highest", map(_spread, points))
    add("  of session.run alone", (f"{p.of_raw:.3f}" if p.of_raw else "" for p in points))
    add("  requests due", (_number(m.offered) for m in medians))
    add_latencies("latency (ms)", [m.answered for m in medians])
    if any(m.refused.samples for m in medians):
        add_latencies("429s and 503s (ms)", [m.refused for m in medians])
        add("  Retry-After (s)", (_range(m.retry_after) for m in medians))
    add("answers by code", (_listing(m.codes) for m in medians))
    add("no answer", (_listing(m.failures) for m in medians), "red")
    add("  sent a second time", (_count(m.retried) for m in medians))
    add("  abandoned", (_count(m.unfinished) for m in medians))
    add("batch size, mean", (_number(m.mean_batch_size or 0) for m in medians))
    for size in sorted({size for m in medians for size in m.batch_sizes}, key=int):
        add(f"  {size}", (_batch_share(m, size) for m in medians), "dim")
    add("sent > 5 ms late", (f"{m.late:,} of {m.requests:,}" for m in medians))
    add("not sent", (_count(m.not_sent) for m in medians), "red")
    add("generator, µs/request", (_number(m.cpu_per_request or 0) for m in medians))
    return table


def _notes(report: Report) -> str:
    few = f"{_UNKNOWN}: too few samples (p99.9 takes 1000 in a run)."
    notes = f"[dim]Latency is that of 200s, from when the request was due. {few}[/]"
    details = {code: text for p in report.points for code, text in p.median.details.items()}
    for code, text in sorted(details.items()):
        notes += f"\n[red]{code}:[/] {escape(_sentence(text))}"
    return notes


def _sentence(body: str) -> str:
    """Return the sentence of a problem+json, or the start of any other body."""
    with suppress(ValueError, LookupError, TypeError):
        return str(json.loads(body)["detail"])
    return " ".join(body.split())[:_DETAIL_CHARACTERS]


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < _FEW * 100 else f"{value:,.0f}"


def _milliseconds(latency: Latency, key: str) -> str:
    value: float | None = getattr(latency, key)
    if value is None:
        return _UNKNOWN if latency.samples else ""
    return f"{value:.2f}" if value < _FEW else f"{value:,.1f}"


def _spread(point: Point) -> str:
    low, high = point.median.goodput_lowest, point.median.goodput_highest
    return f"{_number(low)}-{_number(high)}" if len(point.runs) > 1 else ""


def _range(limits: tuple[float, float] | None) -> str:
    """Write both limits, or one if they are equal."""
    return "-".join(dict.fromkeys(f"{limit:g}" for limit in limits or ()))


def _batch_share(summary: Summary, size: str) -> str:
    sizes = summary.batch_sizes
    return f"{sizes[size] / sum(sizes.values()):.1%}" if size in sizes else ""


def _listing(counts: dict[str, int]) -> str:
    return "\n".join(f"{name}: {count:,}" for name, count in counts.items())


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def describe_machine() -> dict[str, str | int]:
    """Name the processor, its usable cores, the system and the Python."""
    return {
        "cpu": _cpu(),
        "cpus_usable": usable_cpus(),
        "cpus_of_host": os.cpu_count() or 1,
        "platform": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that matter here."""
    found = {"vgg-serve": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
