"""Attack a running server with broken uploads: `.venv/bin/python -m tests.fuzz [COUNT] [SEED]`.

Posts every file of ../shared/data/hostile (where it is) and COUNT mutations of them, a good photo
right after each. `VGG_DECODE_ISOLATION=process` and other settings are passed on to the server.
"""

import os
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import SHARED_DATA, png, running_server, write_colours

HOSTILE = SHARED_DATA / "hostile"
PATIENCE = 2.0
"""Seconds in which every upload is answered."""

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_LARGEST = 200_000
"""Most bytes of a file that is mutated; larger ones are posted as they are."""


@dataclass
class Report:
    """The outcome of an attack.

    Attributes:
        statuses: Answers per status.
        slowest: Seconds of the slowest answer, and the name of its upload.
        problems: What went wrong.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    problems: list[str] = field(default_factory=list)


def seeds() -> dict[str, bytes]:
    """Return files by name: a few of each supported format, and the hostile ones."""
    found = {}
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for name, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
    ):
        file = BytesIO()
        Image.fromarray(noise).save(file, name, **options)
        found[f"{name} {options}"] = file.getvalue()
    for path in sorted(HOSTILE.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(HOSTILE))] = path.read_bytes()
    return found


def mutations(seeds: dict[str, bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """Damage files without end, always in the same way for the same seed.

    Half of the damage is in the first 512 bytes, where the headers are, and half of the files are
    in a supported format.
    """
    chance = random.Random(seed)
    small = [name for name, data in seeds.items() if 16 < len(data) <= _LARGEST]
    read = [name for name in small if name.lower().endswith(("g", "p", "gif", "}"))]
    while True:
        name = chance.choice(read if chance.random() < 0.5 else small)
        data = bytearray(seeds[name])
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            _damage(data, chance, seeds[chance.choice(small)])
        yield name, bytes(data)


def _damage(data: bytearray, chance: random.Random, other: bytes) -> None:
    at = chance.randrange(min(len(data), 512) if chance.random() < 0.5 else len(data))
    length = chance.choice((1, 2, 4, 16, 256, 4096))
    match chance.randrange(7):
        case 0:
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            data[at] = chance.randrange(256)
        case 2:
            size = chance.choice("BHI")
            edge = chance.choice(_EDGES) % (1 << 8 * struct.calcsize(size))
            data[at : at + struct.calcsize(size)] = struct.pack(chance.choice("<>") + size, edge)
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 100))
        case 5:
            data[at : at + length] = chance.randbytes(length)
        case 6:
            start = chance.randrange(len(other))
            data[at : at + length] = other[start : start + length]
    if len(data) < 16:
        data += bytes(16)


def attack(url: str, uploads: Iterable[tuple[str, bytes]], seconds: float = 1e9) -> Report:
    """Post uploads one after the other, with a good photo after each.

    Args:
        url: A server of the model `colours`.
        uploads: Names and bodies.
        seconds: Longest duration of the attack.
    """
    report = Report()
    client = HTTPConnection(url.removeprefix("http://"), timeout=30)
    good = {index: png(colour) for index, colour in enumerate(("red", "lime", "blue"))}
    end = time.monotonic() + seconds
    for number, (name, data) in enumerate(uploads):
        if time.monotonic() > end:
            break
        began = time.monotonic()
        status, kind, body = _post(client, data)
        took = time.monotonic() - began
        report.statuses[status] += 1
        report.slowest = max(report.slowest, (took, name))
        if took > PATIENCE:
            report.problems.append(f"{name}: {took:.1f} s")
        problem = 400 <= status < 500 and kind == "application/problem+json"
        if not (status == 200 or problem):
            report.problems.append(f"{name}: {status} {body[:200]!r}")
        status, _, body = _post(client, good[number % 3])
        if status != 200 or loads(body)["predictions"][0]["class_index"] != number % 3:
            report.problems.append(f"the photo after {name}: {status} {body[:200]!r}")
    client.close()
    return report


def _post(client: HTTPConnection, data: bytes) -> tuple[int, str | None, bytes]:
    client.request("POST", "/predict", data)
    answer = client.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


def resident(pid: int) -> int:
    """Return the resident bytes of a process and of its children."""
    status = Path(f"/proc/{pid}/status").read_text()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return 1024 * int(status.split("VmRSS:")[1].split()[0]) + sum(map(resident, map(int, children)))


def main(count: int, seed: int) -> int:
    """Attack a server and print the outcome; return 1 if anything went wrong."""
    files = seeds()
    passed_on: dict[str, Any] = {
        name.removeprefix("VGG_").lower(): value
        for name, value in os.environ.items()
        if name.startswith("VGG_DECODE")
    }
    damaged = mutations(files, seed)
    with tempfile.TemporaryDirectory() as name:
        write_colours(Path(name))
        with running_server(Path(name), models="colours", **passed_on) as server:
            attack(server.url, [("a photo", png())] * 100)
            before = resident(server.process.pid)
            for title, uploads in (
                ("as they are", files.items()),
                (f"mutated, seed {seed}", (next(damaged) for _ in range(count))),
            ):
                began = time.monotonic()
                report = attack(server.url, uploads)
                grown = resident(server.process.pid) - before
                statuses = dict(sorted(report.statuses.items()))
                print(f"{title}: {report.statuses.total()} in {time.monotonic() - began:.0f} s")  # noqa: T201
                print(f"  {statuses}, slowest {report.slowest}, {grown / 1e6:+.0f} MB resident")  # noqa: T201
                print(*(f"  {problem}\n" for problem in report.problems), sep="", end="")  # noqa: T201
                if report.problems or grown > 100e6 or server.process.poll() is not None:
                    return 1
    return 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [20_000, 1][len(arguments) :])))
