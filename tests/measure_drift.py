"""Measure what counting photos costs: `python -m tests.measure_drift [MINUTES]`, of each of two loads.

A server of the VGG-11 of 1/16 width, with random weights that count as trained and a baseline, counts in
one half of short slots of time and not in the other half, in random order, while wrk (Debian's package)
loads it from the same cores. So both halves share one process, its memory and the noise of the machine,
which between two servers was larger than the cost.

Prints what the energy of an answer costs in a run, of the same graph with and without that output; then, for
the photos that are counted by default and for a server that counts all of them, the ratio of requests per second
and of processor time per request, each with a 95 % interval (bootstrap of pairs of slots).
"""

import hashlib
import json
import os
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import onnx

from app.cli.evaluate.model import Side, open_model
from app.graph.serving_graph import ENERGY
from app.graph.vgg import VggConfig
from app.machine import usable_cpus
from app.runtime.cpu_session import CpuSession
from app.service.logs import configure_logs
from app.service.server import serve
from app.service.settings import Settings
from app.serving.drift import watch
from app.serving.drift.watch import Watch
from app.weights.manifests.baseline import PROPERTIES, make_baseline, write_baseline
from app.weights.manifests.catalog import read_manifest
from tests.conftest import running_server
from tests.graph.test_serving_graph import lively
from tests.measure_fronts import load, write_script
from tests.measure_host import say
from tests.weights.test_pull import write_safetensors

_SLOT: Final = 0.25
"""Seconds for which photos are counted or not: some hundred requests."""
_FILE, _ALL = "MEASURE_DRIFT_FILE", "MEASURE_DRIFT_ALL"
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


class Slots:
    """Says in which slot photos are counted, and notes the requests and the processor time of each."""

    def __init__(self) -> None:
        # A stop by SIGTERM ends with the signal, so each line is written when it is known.
        self._notes = Path(os.environ[_FILE]).open("w", buffering=1)  # noqa: SIM115
        self._number, self.counting = -1, False
        self._began, self._used, self._photos = 0.0, 0.0, 0
        self._random = random.Random(0)
        self._pair: list[bool] = []

    def counts(self) -> bool:
        """Return whether this photo is to be counted; called once for each."""
        now = time.monotonic()
        if int(now / _SLOT) != self._number:
            used = time.process_time()
            if self._number >= 0:
                slot = (self.counting, now - self._began, used - self._used, self._photos)
                self._notes.write(json.dumps(slot) + "\n")
            self._pair = self._pair or self._random.sample([True, False], 2)
            self.counting, self._number = self._pair.pop(), int(now / _SLOT)
            self._began, self._used, self._photos = now, used, 0
        self._photos += 1
        return self.counting


def serve_in_slots() -> None:
    """Serve as ever, but count only in one half of the slots."""
    slots, wants, is_unusual = Slots(), Watch.wants, Watch.is_unusual
    if os.environ[_ALL] == "1":
        watch.RATE = watch.AT_ONCE = 1e9  # type: ignore[misc]
    Watch.wants = lambda self: wants(self) & slots.counts()  # type: ignore[method-assign]
    Watch.is_unusual = lambda self, energy: slots.counting and is_unusual(self, energy)  # type: ignore[method-assign]
    configure_logs("info", "json")
    sys.exit(serve(Settings()))


def measured_slots(folder: Path, script: Path, seconds: int, *, all_photos: bool) -> list[Any]:
    """Load a server, and return [pairs, 2, ...]: of not counting and counting, seconds, CPU seconds, photos."""
    file = folder / "slots.jsonl"
    os.environ |= {_FILE: str(file), _ALL: str(int(all_photos))}
    start = partial(running_server, folder, models="tiny", queue_budget_ms="60000")
    with start(module="tests.measure_drift") as server:
        load(script, seconds, server.url)
    slots = [json.loads(line) for line in file.read_text().splitlines()]
    pairs = [sorted(slots[at : at + 2]) for at in range(0, len(slots) - 1, 2)]
    return [
        pair for pair in pairs[8:] if all(slot[1] < 2 * _SLOT for slot in pair)
    ]  # the first warm up


def interval(ratios: list[float]) -> str:
    """Return the median of ratios and its 95 % interval."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return f"{median(ratios):.4f} ({low:.4f} to {high:.4f}; {len(ratios)} pairs)"


def energy_ratios(folder: Path, batch: int = 4, rounds: int = 400) -> list[float]:
    """Return how much longer runs of a batch take with the energy than without, in turns."""
    open_model(Side(Settings(model_dir=folder, models=("tiny",), offline=True), "tiny"))
    [path] = folder.glob("serving/*/*/graph.onnx")
    graph = onnx.load(path, load_external_data=False)
    [node] = [one for one in graph.graph.node if ENERGY in one.output]
    [output] = [one for one in graph.graph.output if one.name == ENERGY]
    graph.graph.node.remove(node)
    graph.graph.output.remove(output)
    bare = path.with_name("without.onnx")
    onnx.save(graph, bare)
    sessions = [CpuSession(one, usable_cpus()) for one in (bare, path)]
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    ratios = []
    for number in range(rounds):
        seconds = [0.0, 0.0]
        for side in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            sessions[side].run(images)
            seconds[side] = time.perf_counter() - began
        ratios.append(seconds[1] / seconds[0])
    return ratios[rounds // 10 :]


def main(minutes: float = 2) -> None:
    """Measure and print."""
    folder, script = model_folder(), write_script("224x224")
    say(f"time of a run of 4 photos with the energy: ratio {interval(energy_ratios(folder))}")
    for all_photos in (False, True):
        pairs = measured_slots(folder, script, round(60 * minutes), all_photos=all_photos)
        rates = [[photos / seconds for _, seconds, _, photos in pair] for pair in pairs]
        costs = [[1e6 * used / photos for _, _, used, photos in pair] for pair in pairs]
        say("every photo counted:" if all_photos else "as it is:")
        for unit, values in (("requests per second", rates), ("CPU us per request", costs)):
            without, counting = (median(column) for column in zip(*values, strict=True))
            ratio = interval([b / a for a, b in values])
            say(f"  {unit}: {without:.0f} without, {counting:.0f} counting; ratio of pairs {ratio}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve_in_slots()
    else:
        main(*map(float, sys.argv[1:]))
