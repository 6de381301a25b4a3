"""Compute what a rate of photos needs: `python -m tests.scale_arithmetic [PHOTOS_PER_SECOND ...]`.

It reads the measured figures where they are written down, in docs/performance.md and docs/int8.md,
takes the size of the photos that they were measured with, and multiplies. Without arguments it
writes its tables into docs/scale.md, between the two marks there.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import mean, median
from typing import Final

from app.bench.target import make_pictures
from tests.conftest import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "scale.md"
MARKS: Final = ("<!-- python -m tests.scale_arithmetic writes from here -->\n", "<!-- to here -->")
RATES: Final = (1000, 1_000_000)
SHARE: Final = 0.7
"""Of what a replica can do that is planned with: the rest is for bursts, upgrades, a lost node."""
WEIGHTS_BYTES: Final = 553_433_881
"""Of VGG-16's published weights: 138 million numbers of four bytes."""
SERIES: Final = 285
"""Of one replica in Prometheus that has answered: `curl -s HOST/metrics | grep -vc '^#'`, one model, no baseline."""
NIC: Final = 100e9
"""Bits per second of a fast network card."""

_COLUMNS: Final = (
    "a replica",
    "it answers per second",
    "replicas",
    "cores",
    "memory",
    "weights, loaded by each",
    "series in Prometheus",
)


@dataclass(frozen=True)
class Replica:
    """One way to serve VGG-16, as it was measured."""

    name: str
    cores: int
    photos_per_second: float
    memory_mb: float | None  # of the host; None was not measured


def column(document: str, header: str, row: str, number: int) -> list[float]:
    """Return the numbers in a column of a table, from the rows whose first cell fits.

    Args:
        document: A file in docs/.
        header: How the table's first line begins.
        row: A regular expression for the whole first cell.
        number: Of the column, from 1 on; the first cell is column 1.

    Raises:
        LookupError: If there is none: the document has changed, and this has to follow.
    """
    lines = (REPOSITORY / "docs" / document).read_text().splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(header)), len(lines))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip(" *") for cell in line.split("|")]
        if re.fullmatch(row, cells[1]):
            found.append(float(re.findall(r"[\d.]+", cells[number].replace(",", ""))[0]))
    if not found:
        raise LookupError(f"docs/{document} has no table {header!r} with a row {row!r}")
    return found


def replicas() -> list[Replica]:
    """Return the ways that were measured."""
    plain = column("performance.md", "| round | vgg-serve, VGG-16 |", r"\d", 2)
    memory = column("performance.md", "| load | 200 per second |", "1x.*", 9)
    int8 = column("int8.md", "| round | vgg-serve, int8 |", r"\d", 2)
    gpu = column("performance.md", "| | photos per second | p99", "8 fronts, after", 2)
    [of_int8] = re.findall(
        r"16\s+connections\s+and\s+takes\s+\d+\s+to\s+(\d+)\s+MB",
        (REPOSITORY / "docs" / "int8.md").read_text(),
    )
    return [
        Replica("2 cores, float32", 2, median(plain), max(memory)),
        Replica("2 cores, int8", 2, median(int8), float(of_int8)),
        Replica("H100, 16 cores, 8 fronts", 16, gpu[0], None),
    ]


def photo_bytes(size: str, count: int) -> float:
    """Return the mean size of the JPEGs that `vgg-serve bench` makes of one size."""
    return mean(len(picture.data) for picture in make_pictures(f"{size}:{count}"))


def table(rate: int, size: float) -> list[str]:
    """Return the lines of what one rate needs."""
    lines = [
        f"**{rate:,} photos per second** of {size / 1000:.0f} kB:",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    for one in replicas():
        count = ceil(rate / (one.photos_per_second * SHARE))
        memory = "not measured" if one.memory_mb is None else _bytes(count * one.memory_mb * 1e6)
        lines.append(
            f"| {one.name} | {one.photos_per_second:,.0f} | {count:,} | {count * one.cores:,}"
            f" | {memory} | {_bytes(count * WEIGHTS_BYTES)} | {count * SERIES:,} |"
        )
    bits = 8 * rate * size
    cards = ceil(bits / NIC / SHARE)
    incoming = (
        f"In come {_bytes(rate * size)} per second, {bits / 1e9:,.1f} Gbit/s: {cards} network"
        f" card{'s' if cards > 1 else ''} of 100 Gbit/s, filled to {SHARE:.0%}."
    )
    return [
        *lines,
        "",
        incoming,
    ]


def photos() -> list[str]:
    """Return the lines of what larger photos change."""
    lines = [
        "| photo | bytes | Gbit/s of 1,000 per second | cores to decode 1,000 per second |",
        "|---|---|---|---|",
    ]
    for size, count in (("500x375", 8), ("4000x3000", 1)):
        of = photo_bytes(size, count)
        [decode, *_] = column("performance.md", "| | sand: fast, ms", f"{size}, baseline 4:2:0", 2)
        lines.append(f"| {size} | {of:,.0f} | {8 * of / 1e6:,.1f} | {decode:,.1f} |")
    return lines


def tables(rates: Sequence[int] = RATES) -> str:
    """Return all lines."""
    size = photo_bytes("500x375", 8)
    lines = [line for rate in rates for line in [*table(rate, size), ""]]
    return "\n".join([*lines, *photos(), ""])


def _bytes(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MB"


def page() -> str:
    """Return docs/scale.md with the tables of now."""
    before, rest = PAGE.read_text().split(MARKS[0])
    return f"{before}{MARKS[0]}\n{tables()}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(tables([int(one) for one in sys.argv[1:]]))
    else:
        PAGE.write_text(page())
