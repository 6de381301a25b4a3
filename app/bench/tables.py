"""A report for people."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from app.bench.card_table import card_table
from app.bench.latency import Latency
from app.bench.raw import RawSummary
from app.bench.report import Point, Report
from app.bench.summary import Summary

_ACROSS: Final = 4
"""Loads side by side; more of them go below."""
_FEW: Final = 10
_SHORT: Final = 200
_NONE: Final = "n/a"


def report_tables(report: Report) -> RenderableType:
    """Lay out a report: where, the limit, and a column for each load."""
    machine = report.machine
    where = (
        f"[dim]{escape(str(machine['cpu']))}, {machine['cpus_usable']} of"
        f" {machine['cpus_of_host']} processors, {machine['python']}[/]"
    )
    parts: list[RenderableType] = [where]
    if report.interrupted:
        parts.append("[yellow]Ended early: this is what there was by then.[/]")
    if report.raw is not None:
        parts += [_raw_title(report.raw), _raw_table(report.raw)]
        if report.card is not None:
            parts.append(card_table(report.card, report.raw))
    starts = range(0, len(report.points), _ACROSS)
    if report.points:
        repeats = max(len(point.runs) for point in report.points)
        median = f", median of {repeats} runs each" if repeats > 1 else ""
        parts.append(f"\n[bold]{escape(str(report.url))}[/]{median}")
        parts += [_served_table(report.points[start:][:_ACROSS]) for start in starts]
        parts.append(_notes(report))
    return Group(*parts)


def _raw_title(raw: RawSummary) -> str:
    stand_in = "" if raw.trained else " (untrained)"
    where = f"{raw.threads} thread{'s' * (raw.threads > 1)}" if raw.device == "cpu" else raw.device
    rounds = f", median of {len(raw.rounds)} rounds" if len(raw.rounds) > 1 else ""
    return f"\n[bold]session.run alone[/]: {escape(raw.model)}{stand_in}, {where}{rounds}"


def _raw_table(raw: RawSummary) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("batch size")
    for size in raw.images_per_second:
        table.add_column(size, justify="right")
    rates = raw.images_per_second
    best = max([raw.best, *(max(other.values()) for other in raw.beside.values())])

    def add(name: str, row: dict[str, float]) -> None:
        table.add_row(name, *(_bold(_number(one), one == best) for one in row.values()))

    add(f"images/s, {raw.way}" if raw.way else "images/s", rates)
    for way, other in raw.beside.items():
        add(f"images/s, {way}", other)
        ratios = (f"{other[size] / rate:.2f} x" for size, rate in rates.items())
        table.add_row(f"  {way} / {raw.way}", *ratios)
    return table


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


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    cell: Callable[[Point], str]
    always: bool = False
    style: str = ""


def _rows(points: Sequence[Point]) -> Iterator[_Row]:
    yield _Row("200s per second", lambda p: _number(p.median.goodput), always=True, style="bold")
    yield _Row("  lowest - highest", _spread)
    yield _Row("  of session.run alone", lambda p: f"{p.of_raw:.3f}" if p.of_raw else "")
    yield _Row("  requests due", lambda p: _number(p.median.offered))
    yield from _latency_rows("latency (ms)", lambda summary: summary.answered)
    if any(point.median.refused.samples for point in points):
        yield from _latency_rows("429s and 503s (ms)", lambda summary: summary.refused)
        yield _Row("  Retry-After (s)", lambda p: _range(p.median.retry_after))
    yield _Row("answers by code", lambda p: _listing(p.median.codes))
    yield _Row("no answer", lambda p: _listing(p.median.failures), style="red")
    yield _Row("  sent a second time", lambda p: _count(p.median.retried))
    yield _Row("  left behind", lambda p: _count(p.median.unfinished))
    yield _Row("batch size, mean", lambda p: _number(p.median.mean_batch_size or 0) or _NONE)
    yield from (_batch_row(size) for size in _batch_sizes(points))
    yield _Row("sent > 5 ms late", lambda p: _share(p.median.late, p.median.requests), always=True)
    yield _Row("not sent", lambda p: _count(p.median.not_sent), style="red")
    yield _Row("generator, µs/request", lambda p: _number(p.median.cpu_per_request or 0))


def _latency_rows(title: str, get: Callable[[Summary], Latency]) -> Iterator[_Row]:
    yield _Row(title, lambda p: f"n = {get(p.median).samples:,}", always=True)

    def cell(point: Point, key: str) -> str:
        latency = get(point.median)
        return _milliseconds(getattr(latency, key)) if latency.samples else ""

    for name, key in (
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("p99.9", "p999"),
        ("max", "max"),
    ):
        yield _Row(f"  {name}", partial(cell, key=key))


def _batch_sizes(points: Sequence[Point]) -> list[str]:
    return sorted({size for point in points for size in point.median.batch_sizes}, key=int)


def _batch_row(size: str) -> _Row:
    def cell(point: Point) -> str:
        sizes = point.median.batch_sizes
        return f"{sizes[size] / sum(sizes.values()):.1%}" if size in sizes else ""

    return _Row(f"  {size}", cell, style="dim")


def _notes(report: Report) -> str:
    since = "Latency is that of 200s, from when a request was due."
    few = "n/a: too few samples (p99.9 takes 1000 in a run)."
    lines = [f"[dim]{since} {few}[/]"]
    details = {code: text for p in report.points for code, text in p.median.details.items()}
    lines += [
        f"[red]{code}:[/] {escape(_sentence(text))}" for code, text in sorted(details.items())
    ]
    return "\n".join(lines)


def _sentence(body: str) -> str:
    """Take the sentence out of problem+json; of anything else the begin."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, LookupError, TypeError):
        return " ".join(body.split())[:_SHORT]


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < _FEW * 100 else f"{value:,.0f}"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2f}" if value < _FEW else f"{value:,.1f}"


def _spread(point: Point) -> str:
    low, high = point.median.goodput_lowest, point.median.goodput_highest
    return f"{_number(low)}-{_number(high)}" if len(point.runs) > 1 else ""


def _range(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return ""
    return f"{limits[0]:g}" if limits[0] == limits[1] else f"{limits[0]:g}-{limits[1]:g}"


def _listing(counts: dict[str, int]) -> str:
    return "\n".join(f"{name}: {count:,}" for name, count in counts.items())


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _bold(text: str, yes: bool) -> str:  # noqa: FBT001 (a cell and whether it stands out)
    return f"[bold]{text}[/]" if yes else text
