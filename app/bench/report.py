"""The measurement as JSON: settings, machine, every run, and the medians."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from app import __version__
from app.bench.plan import Plan
from app.bench.raw import RawSummary
from app.bench.series import Series
from app.bench.summary import Summary, combine
from app.bench.target import Target
from app.machine import usable_cpus

_PACKAGES: Final = (
    "onnxruntime", "onnxruntime-gpu", "torch", "numpy", "pillow", "httptools", "uvloop",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One load with its runs.

    Attributes:
        value: Connections, or requests per second.
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
