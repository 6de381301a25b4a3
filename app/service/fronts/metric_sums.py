"""Joins the metrics of several processes, each by its `join`."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from app.serving.drift import windows
from app.serving.metrics import Family

_JOINS: Final[dict[str, Callable[[tuple[Any, Any]], Any]]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "newest": lambda both: windows.join(*both),
}


def add_up(parts: Iterable[list[Family]]) -> list[Family]:
    """Join the families of several processes; of times of creation, the earliest counts."""
    joined: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Any]] = {}
    for family in (family for part in parts for family in part):
        name = family["name"]
        joined.setdefault(name, family)
        known = values.setdefault(name, {})
        for sample, labels, value in family["samples"]:
            key = sample, tuple(labels.items())
            join = min if sample.endswith("_created") else _JOINS[family["join"]]
            number = value if family["type"] == "window" else float(value)
            known[key] = join((known[key], number)) if key in known else number
    return [
        {
            **family,
            "samples": [(key[0], dict(key[1]), value) for key, value in values[name].items()],
        }
        for name, family in joined.items()
    ]


def counts_of(part: list[Family]) -> list[Family]:
    """Return what to keep of a process that has ended, as no sum may ever fall: all but gauges.

    Its window stays too: its photos are among the newest until others are.
    """
    return [family for family in part if family["type"] != "gauge"]
