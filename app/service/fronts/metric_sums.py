"""The metrics of several processes as those of one: counts are added, the rest as it makes sense."""

from collections.abc import Callable, Iterable
from typing import Final

from app.serving.metrics import Family

_COUNTED: Final = ("counter", "histogram")
_ADDED_GAUGES: Final = (
    *("vgg_upload_bytes", "vgg_queue_depth", "process_open_fds", "process_max_fds"),
    *("process_resident_memory_bytes", "process_virtual_memory_bytes"),
)
_EARLIEST: Final = ("process_start_time_seconds", "_created")


def add_up(parts: Iterable[list[Family]]) -> list[Family]:
    """Join the families of several processes.

    Counters, histograms and what a process takes are added; of all other gauges the largest
    counts, of times the earliest; and ready is what all of them are.
    """
    joined: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for part in parts for family in part):
        name = family["name"]
        joined.setdefault(name, family)
        known = values.setdefault(name, {})
        for sample, labels, value in family["samples"]:
            key = sample, tuple(labels.items())
            choose = _choose(family, sample)
            number = float(value)
            known[key] = choose((known[key], number)) if key in known else number
    return [
        {
            **family,
            "samples": [(key[0], dict(key[1]), value) for key, value in values[name].items()],
        }
        for name, family in joined.items()
    ]


def counts_of(part: list[Family]) -> list[Family]:
    """Return what has to be kept of a process that has ended: no sum may ever fall."""
    return [family for family in part if family["type"] in _COUNTED]


def _choose(family: Family, sample: str) -> Callable[[tuple[float, float]], float]:
    if sample.endswith(_EARLIEST):
        return min
    if family["name"] == "vgg_ready":
        return min
    if family["type"] in _COUNTED or family["name"] in _ADDED_GAUGES:
        return sum
    return max
