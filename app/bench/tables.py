"""A report as tables for a terminal."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from app.bench.raw import RawSummary
from app.bench.report import Point, Report
from app.bench.summary import Latency, Summary

_ACROSS: Final = 4
"""Loads side by side; further ones go into a table below."""
_FEW: Final = 10
_DETAIL_CHARACTERS: Final = 200
_UNKNOWN: Final = "n/a"
_PERCENTILES: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max"}


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


class _Row(NamedTuple):
    name: str
    cell: Callable[[Point], str]
    style: str = ""
    always: bool = False
    """Whether the row is shown without a single value."""


def _served_table(points: Sequence[Point]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True)
    for point in points:
        table.add_column(point.label, justify="right")
    for row in _rows(points):
        cells = [row.cell(point) for point in points]
        if any(cells) or row.always:
            table.add_row(row.name, *(cell or "[dim]-[/]" for cell in cells), style=row.style)
    return table


def _rows(points: Sequence[Point]) -> Iterator[_Row]:
    yield _Row("200s per second", lambda p: _number(p.median.goodput), "bold", always=True)
    yield _Row("  lowest - highest", _spread)
    yield _Row("  of session.run alone", lambda p: f"{p.of_raw:.3f}" if p.of_raw else "")
    yield _Row("  requests due", lambda p: _number(p.median.offered))
    yield from _latency_rows("latency (ms)", lambda summary: summary.answered)
    if any(point.median.refused.samples for point in points):
        yield from _latency_rows("429s and 503s (ms)", lambda summary: summary.refused)
        yield _Row("  Retry-After (s)", lambda p: _range(p.median.retry_after))
    yield _Row("answers by code", lambda p: _listing(p.median.codes))
    yield _Row("no answer", lambda p: _listing(p.median.failures), "red")
    yield _Row("  sent a second time", lambda p: _count(p.median.retried))
    yield _Row("  abandoned", lambda p: _count(p.median.unfinished))
    yield _Row("batch size, mean", lambda p: _number(p.median.mean_batch_size or 0) or _UNKNOWN)
    for size in sorted({size for p in points for size in p.median.batch_sizes}, key=int):
        yield _Row(f"  {size}", lambda p, size=size: _batch_share(p.median, size), "dim")  # type: ignore[misc] # no names for lambdas' defaults
    yield _Row(
        "sent > 5 ms late", lambda p: f"{p.median.late:,} of {p.median.requests:,}", always=True
    )
    yield _Row("not sent", lambda p: _count(p.median.not_sent), "red")
    yield _Row("generator, µs/request", lambda p: _number(p.median.cpu_per_request or 0))


def _latency_rows(title: str, get: Callable[[Summary], Latency]) -> Iterator[_Row]:
    yield _Row(title, lambda p: f"n = {get(p.median).samples:,}", always=True)

    def cell(point: Point, key: str) -> str:
        latency = get(point.median)
        return _milliseconds(getattr(latency, key)) if latency.samples else ""

    for name, key in _PERCENTILES.items():
        yield _Row(f"  {name}", lambda p, key=key: cell(p, key))  # type: ignore[misc] # the same


def _notes(report: Report) -> str:
    since = "Latency is that of 200s, from when the request was due."
    few = f"{_UNKNOWN}: too few samples (p99.9 takes 1000 in a run)."
    lines = [f"[dim]{since} {few}[/]"]
    details = {code: text for p in report.points for code, text in p.median.details.items()}
    lines += [
        f"[red]{code}:[/] {escape(_sentence(text))}" for code, text in sorted(details.items())
    ]
    return "\n".join(lines)


def _sentence(body: str) -> str:
    """Return the sentence of a problem+json, or the start of any other body."""
    with suppress(ValueError, LookupError, TypeError):
        return str(json.loads(body)["detail"])
    return " ".join(body.split())[:_DETAIL_CHARACTERS]


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < _FEW * 100 else f"{value:,.0f}"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:.2f}" if value < _FEW else f"{value:,.1f}"


def _spread(point: Point) -> str:
    low, high = point.median.goodput_lowest, point.median.goodput_highest
    return f"{_number(low)}-{_number(high)}" if len(point.runs) > 1 else ""


def _range(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ""
    return f"{limits[0]:g}" if limits[0] == limits[1] else f"{limits[0]:g}-{limits[1]:g}"


def _batch_share(summary: Summary, size: str) -> str:
    sizes = summary.batch_sizes
    return f"{sizes[size] / sum(sizes.values()):.1%}" if size in sizes else ""


def _listing(counts: dict[str, int]) -> str:
    return "\n".join(f"{name}: {count:,}" for name, count in counts.items())


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
