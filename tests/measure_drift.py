"""Measure what counting photos costs: `python -m tests.measure_drift [SECONDS] [ROUNDS]`.

Two servers of the same VGG-11 of 1/16 width, with random weights that count as trained and a baseline:
one counts, the other does not. wrk (Debian's package) loads one after the other, in turns, on the same
cores. Prints for each pair of turns the processor time per request, and at the end the ratios.
"""

import hashlib
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from app.graph.vgg import VggConfig
from app.service.logs import configure_logs
from app.service.server import serve
from app.service.settings import Settings
from app.serving.drift.watch import Watch
from app.weights.manifests.baseline import PROPERTIES, make_baseline, write_baseline
from app.weights.manifests.catalog import read_manifest
from tests.conftest import running_server
from tests.graph.test_serving_graph import lively
from tests.measure_fronts import load, write_script
from tests.measure_host import say, seconds_of
from tests.weights.test_pull import write_safetensors

_MANIFEST: Final = """
name = "tiny"
title = "VGG-11 of 1/16 width"
labels = "tiny.txt"
license = "MIT"
[architecture]
configuration = "A"
width = 0.0625
hidden = [256, 256]
[checkpoint]
format = "safetensors"
file = "tiny.safetensors"
[preprocess]
resize = 256
crop = 224
channels = "RGB"
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
"""


def model_folder() -> Path:
    """Make the model, its labels and a baseline."""
    folder = Path(tempfile.mkdtemp())
    network = VggConfig("A", hidden=(256, 256)).scaled(1 / 16)
    write_safetensors(folder / "tiny.safetensors", lively(network))
    (folder / "tiny.toml").write_text(_MANIFEST)
    (folder / "tiny.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    digest = hashlib.sha256((folder / "tiny.safetensors").read_bytes()).hexdigest()
    rng = np.random.default_rng(0)
    facts, energies = rng.random((1000, len(PROPERTIES))), rng.random(1000)
    made = make_baseline(facts, energies, read_manifest(folder / "tiny.toml"), digest)
    write_baseline(folder / "tiny.baseline.json", made)
    return folder


def serve_without() -> None:
    """Serve as ever, but look at no photo."""
    Watch.wants = lambda _: False  # type: ignore[assignment, method-assign] # what is measured
    Watch.is_unusual = lambda _, _energy: False  # type: ignore[assignment, method-assign]
    configure_logs("info", "json")
    sys.exit(serve(Settings()))


def main(seconds: int = 5, rounds: int = 8) -> None:
    """Measure and print."""
    folder, script = model_folder(), write_script("224x224")
    start = partial(running_server, folder, models="tiny", queue_budget_ms="60000")
    with (
        start() as counting,
        start(module="tests.measure_drift") as without,
    ):
        servers = {"without": without, "counting": counting}
        for server in servers.values():
            load(script, 2, server.url)
        costs: dict[str, list[float]] = {name: [] for name in servers}
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for number in range(rounds):
            for name in sorted(servers, reverse=number % 2 == 1):
                server = servers[name]
                before = seconds_of(server.process.pid)
                requests, rate = load(script, seconds, server.url)
                costs[name].append(1e6 * (seconds_of(server.process.pid) - before) / requests)
                rates[name].append(rate)
            say(
                "  ".join(
                    f"{name}: {costs[name][-1]:.0f} us, {rates[name][-1]:.0f}/s" for name in servers
                )
            )
    for unit, values in (
        ("processor time per request (us)", costs),
        ("requests per second", rates),
    ):
        one, other = median(values["without"]), median(values["counting"])
        pairs = [b / a for a, b in zip(values["without"], values["counting"], strict=True)]
        say(
            f"{unit}: {one:.0f} without, {other:.0f} counting; ratio of pairs, median {median(pairs):.4f}"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve_without()
    else:
        main(*map(int, sys.argv[1:]))
