"""The measurement as JSON: settings, machine, every run, and the medians."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from app.bench.card import Card
from app.bench.machine import describe_machine, versions
from app.bench.pictures import Picture
from app.bench.plan import Load, Plan
from app.bench.raw import RawSummary
from app.bench.series import Series
from app.bench.summary import Summary
from app.bench.target import Target


@dataclass(frozen=True, slots=True)
class Point:
    """One load of a series.

    Attributes:
        kind: `closed` or `open`.
        value: Connections, or requests per second.
        label: How a table names it.
        of_raw: Goodput over the best of session.run alone; None if that was not measured.
        median: Of its runs.
        runs: All of them, in order.
    """

    kind: str
    value: float
    label: str
    of_raw: float | None
    median: Summary
    runs: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to say about a measurement.

    Attributes:
        made: Date and time (ISO 8601, UTC).
        url: Who was asked; None for the limit alone.
        settings: Of the plan and of the requests.
        pictures: What was sent: how often, name and bytes.
        machine: Where the load came from, and the limit.
        versions: Of the packages there.
        interrupted: Whether Ctrl-C ended it early.
        raw: The limit; None if it was not measured.
        points: One a load.
        card: What the device of the limit could do; None if that was not measured.
    """

    made: str
    url: str | None
    settings: dict[str, object]
    pictures: tuple[dict[str, object], ...]
    machine: dict[str, str | int]
    versions: dict[str, str]
    interrupted: bool
    raw: RawSummary | None
    points: tuple[Point, ...]
    card: Card | None = None


def make_report(
    series: Series,
    plan: Plan,
    *,
    url: str | None,
    target: Target | None,
    pictures: list[Picture],
    raw: RawSummary | None,
) -> Report:
    """Put together what was measured and where.

    Args:
        series: What was measured.
        plan: What was to be.
        url: Who was asked; None for the limit alone.
        target: What it was asked; None for the limit alone.
        pictures: What was sent.
        raw: The limit; None if it was not measured.
    """
    settings: dict[str, object] = {"repeats": plan.repeats}
    if target is not None:
        settings = asdict(plan) | {"loads": [load.label for load in plan.loads]}
        # Their names alone: the value of a header may be a password.
        settings |= {"path": target.path, "field": target.field, "headers": target.headers}
    return Report(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        url=url,
        settings=settings,
        pictures=tuple({"name": p.name, "bytes": len(p.data), "mime": p.mime} for p in pictures),
        machine=describe_machine(),
        versions=versions(),
        interrupted=series.interrupted,
        raw=raw,
        points=tuple(
            _point(load, median, tuple(series.served[load]), raw)
            for load, median in series.points().items()
        ),
    )


def to_json(report: Report) -> str:
    """Write a report as JSON; what is not known is null."""
    return json.dumps(asdict(report), indent=2, allow_nan=False) + "\n"


def _point(load: Load, median: Summary, runs: tuple[Summary, ...], raw: RawSummary | None) -> Point:
    return Point(
        kind=load.kind,
        value=load.value,
        label=load.label,
        of_raw=median.goodput / raw.best if raw else None,
        median=median,
        runs=runs,
    )
