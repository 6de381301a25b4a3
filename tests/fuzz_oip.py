"""Attack the Open Inference Protocol with broken requests: `.venv/bin/python -m tests.fuzz_oip [COUNT] [SEED]`.

COUNT (20,000) mutations of binary tensors, JSON and compressed bodies are parsed in this process; a fifth of them are
posted to a server too, a good photo right after each.
"""

import base64
import gzip
import json
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

from app.errors import RequestError
from app.web.protocols.oip.request import HEAD_LENGTH, read_request
from tests.conftest import png, running_server, write_colours
from tests.fuzz import _damage as damage
from tests.fuzz import resident

CROP = 32
"""Side of the images that the model `colours` takes."""
_SLOWEST = 2.0
_GROWTH = 60e6

_LENGTHS = ("0", "1", "-1", "9" * 30, "0x10", "", "1e3", " 12")


def seeds() -> list[tuple[bytes, str | None]]:
    """Return good requests of every kind, and the value of HEAD_LENGTH for each."""
    found: list[tuple[bytes, str | None]] = [(png(), "0"), (bytes(CROP * CROP * 3), "0")]
    asked = [{"name": "probabilities", "parameters": {"binary_data": True, "classification": 2}}]
    photos = [png("red"), png("lime"), png("blue")]
    packed = b"".join(struct.pack("<I", len(photo)) + photo for photo in photos)
    pixels = bytes(range(256)) * 12
    for tensor, shape, datatype in (
        (packed, [3], "BYTES"),
        (packed, [3, 1], "BYTES"),
        (pixels, [1, CROP, CROP, 3], "UINT8"),
    ):
        one = {"name": "image", "shape": shape, "datatype": datatype}
        size = {"binary_data_size": len(tensor)}
        texts = [base64.b64encode(photo).decode() for photo in photos]
        for request, binary in (
            ({"id": "1", "inputs": [{**one, "parameters": size}], "outputs": asked}, tensor),
            ({"inputs": [one], "parameters": {"binary_data_output": True}}, tensor),
            ({"inputs": [{**one, "data": texts if datatype == "BYTES" else list(pixels)}]}, b""),
        ):
            head = json.dumps(request).encode()
            found.append((head + binary, str(len(head)) if binary else None))
    return found


def mutated(
    known: list[tuple[bytes, str | None]], chance: random.Random
) -> tuple[bytes, str | None]:
    """Damage the body of a request, its length or both, in the same way for the same state of chance."""
    body, length = chance.choice(known)
    data = bytearray(body)
    other = chance.choice(known)[0]
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16))):
        damage(data, chance, other)
    if chance.random() < 0.2:
        length = chance.choice((*_LENGTHS, str(chance.randrange(2 * len(body))), None))
    elif length not in {None, "0"} and chance.random() < 0.5:  # the JSON stays, the tensor does not
        head = int(length or 0)
        data[:head] = body[:head]
    return bytes(data), length


def parse(count: int, seed: int) -> int:
    """Parse mutated requests, and print what became of them; return 1 if anything went wrong."""
    chance, known = random.Random(seed), seeds()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    tracemalloc.start()
    for _ in range(count):
        body, length = mutated(known, chance)
        began = time.monotonic()
        try:
            read_request(body, length, CROP)
            outcomes["read"] += 1
        except RequestError as exc:
            outcomes[f"{exc.status}"] += 1
        slowest = max(slowest, time.monotonic() - began)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{count} parsed: {dict(outcomes)}, slowest {1000 * slowest:.0f} ms")  # noqa: T201
    print(f"  {kept / 1e6:.1f} MB kept, {peak / 1e6:.1f} MB at most")  # noqa: T201
    return int(slowest > _SLOWEST or kept > _GROWTH)


def attack(url: str, count: int, seed: int, key: str = "") -> tuple[Counter[int], list[str]]:
    """Post mutated requests, some of them compressed, with a good photo after each; return what went wrong.

    Args:
        url: A server of the model `colours`.
        count: How many.
        seed: Of the mutations.
        key: The value of the header Authorization.
    """
    chance, known = random.Random(seed), seeds()
    statuses: Counter[int] = Counter()
    problems: list[str] = []
    client = HTTPConnection(url.removeprefix("http://"), timeout=30)
    for number in range(count):
        body, length = mutated(known, chance)
        headers = {"Authorization": key} | ({} if length is None else {HEAD_LENGTH: length})
        if chance.random() < 0.2:
            compressed = bytearray(chance.choice((gzip.compress, zlib.compress))(body))
            for _ in range(chance.choice((0, 1, 2))):
                damage(compressed, chance, body)
            body, headers["Content-Encoding"] = (
                bytes(compressed),
                chance.choice(("gzip", "deflate")),
            )
        began = time.monotonic()
        status, kind, answer = _post(client, "colours", body, headers)
        statuses[status] += 1
        expected = "application/problem+json"
        if not (status == 200 or (400 <= status < 500 and kind == expected)):
            problems.append(f"{number}: {status} {answer[:200]!r}")
        if time.monotonic() - began > _SLOWEST:
            problems.append(f"{number}: {time.monotonic() - began:.1f} s")
        status, _, answer = _post(
            client,
            "colours",
            png(("red", "lime", "blue")[number % 3]),
            {"Authorization": key, HEAD_LENGTH: "0"},
        )
        row = struct.unpack("<3f", answer[-4000:][:12]) if status == 200 else ()
        if status != 200 or row.index(max(row)) != number % 3:
            problems.append(f"the photo after {number}: {status} {answer[:200]!r}")
    client.close()
    return statuses, problems


def _post(
    client: HTTPConnection, model: str, body: bytes, headers: dict[str, str]
) -> tuple[int, str | None, bytes]:
    client.request("POST", f"/v2/models/{model}/infer", body, headers)
    answer = client.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


def main(count: int, seed: int) -> int:
    """Attack the parser and a server; return 1 if anything went wrong."""
    failed = parse(count, seed)
    with tempfile.TemporaryDirectory() as name:
        write_colours(Path(name))
        with running_server(Path(name), models="colours") as server:
            attack(server.url, 200, seed + 1)
            before = resident(server.process.pid)
            began = time.monotonic()
            statuses, problems = attack(server.url, count // 5, seed)
            grown = resident(server.process.pid) - before
            print(f"{count // 5} posted in {time.monotonic() - began:.0f} s: {dict(statuses)}")  # noqa: T201
            print(f"  {grown / 1e6:+.0f} MB resident")  # noqa: T201
            print(*(f"  {problem}\n" for problem in problems), sep="", end="")  # noqa: T201
            return failed or int(bool(problems) or grown > _GROWTH)


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [20_000, 1][len(arguments) :])))
