"""Measure a device and the networks on it: `.venv/bin/python -m tests.measure_gpu [--model vgg16]`.

Needs no server and no PyTorch; where PyTorch is installed and can use the device, it is measured too.
`--device cpu` does the same on a CPU, with a smaller matrix. The settings VGG_* of the service count
(VGG_MODEL_DIR, VGG_ON_MISSING_WEIGHTS, VGG_DEVICE_IDS, ...). Prints, and writes to --json FILE:

1. whether the float16 graph agrees with the float32 graph on 42 views of the demo page's photos;
2. the matrix rate and the memory bandwidth of the device, as measured;
3. for each batch size: ms per batch and images per second of session.run, medians of --rounds;
   the limit that follows from 2, layer by layer; the share of the matrix rate (goal on a GPU: 40 %);
   images per second of torch.compile, channels last (goal: 0.9 of them). Winograd's convolutions
   multiply less often, so that a CPU may pass this limit.

The log names the fastest way to run on the GPU, with the time of each way.
"""

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, get_args

from app.bench.raw import Rates, RawSessions, RawSummary, measure_round, open_served
from app.bench.report import describe_machine, versions
from app.graph.float16 import chosen
from app.graph.serving_graph import INPUT
from app.graph.vgg import VggConfig
from app.machine import usable_cpus
from app.runtime.cuda_options import SAFE, providers
from app.runtime.open_session import DeviceName, find_device, open_session
from app.runtime.ort import CPU, open_graph
from app.service.parts import gpus, provisioning
from app.service.settings import Settings
from app.web.page.files import STATIC
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import load_catalog
from app.weights.manifests.manifest import Manifest
from app.weights.pull import pull
from tests.gpu.agreement import LARGEST, SAME_FIVE, Agreement, compare, views
from tests.gpu.roofline import Peaks, least_seconds, measure_peaks
from tests.gpu.torch_network import find_torch, torch_run
from tests.measure_host import say

SIDES: Final = {"cpu": 512, "cuda": 8192}
"""Side of the matrices whose product gives the matrix rate."""
ELEMENTS: Final = {"cpu": 2**24, "cuda": 2**28}
"""Elements of the array whose passes give the bandwidth."""


def settings_for(device: DeviceName) -> Settings:
    """Read the settings, and replace `auto` by what it is on this machine."""
    settings = Settings()
    found = find_device(device, gpus(settings)[0])
    made = {
        "device": found,
        "threads": settings.threads or usable_cpus(),
        "precision": chosen(settings.precision, found),
    }
    return settings.model_copy(update=made)


def agreement(settings: Settings, manifest: Manifest, raw: RawSessions) -> Agreement:
    """Compare the timed graph with the one of the other precision on photos of the demo page."""
    other = "float32" if settings.precision == "float16" else "float16"
    sources = provisioning(settings.model_copy(update={"precision": other}))
    graph = pull(manifest, sources, lambda *_: None)
    session = open_session(
        graph.path, device=settings.device, threads=settings.threads, gpu=gpus(settings)[0]
    )
    photos = [path.read_bytes() for path in sorted((STATIC / "samples").glob("*.jpg"))]
    runs = {settings.precision: raw.sessions[None].run, other: session.run}
    return compare(runs["float32"], runs["float16"], views(photos, manifest.preprocess))


def peaks_of(settings: Settings) -> Peaks:
    """Measure the matrix rate and the bandwidth of the device."""
    where = CPU
    if settings.device == "cuda":
        where = providers(replace(gpus(settings)[0], tensorrt=False), SAFE, Path(), 1, 1)

    def load(graph: bytes, values: Any) -> Callable[[], object]:
        return partial(open_graph(graph, where, settings.threads).run, None, {INPUT: values})

    precision = chosen(settings.precision, settings.device)
    return measure_peaks(load, precision, SIDES[settings.device], ELEMENTS[settings.device])


def time_torch(
    settings: Settings, manifest: Manifest, network: VggConfig, sizes: tuple[int, ...], rounds: int
) -> Rates | str:
    """Return PyTorch's images per second, medians of the rounds, or why it was not measured."""
    torch = find_torch(settings.device)
    if isinstance(torch, str):
        return torch
    work = torch_run(
        torch,
        network,
        manifest.preprocess,
        device=settings.device,
        precision=chosen(settings.precision, settings.device),
    )
    measured = [measure_round(work, manifest.preprocess.crop, sizes) for _ in range(rounds)]
    return {size: median(one[size] for one in measured) for size in measured[0]}


def table(
    config: VggConfig, rates: Rates, peaks: Peaks, torch: Rates | str
) -> dict[str, list[str]]:
    """Return the rows of the table, with a cell for each batch size."""
    limit = {size: int(size) / least_seconds(config, peaks, int(size)) for size in rates}
    operations = 2 * config.multiply_adds()
    rows = {
        "batch size": list(rates),
        "ms per batch": [f"{1000 * int(size) / rate:,.2f}" for size, rate in rates.items()],
        "images/s": [f"{rate:,.1f}" for rate in rates.values()],
        "limit of the device": [f"{one:,.1f}" for one in limit.values()],
        "share of that limit": [f"{rate / limit[size]:.0%}" for size, rate in rates.items()],
        "share of the matrix rate": [
            f"{rate * operations / peaks.operations:.0%}" for rate in rates.values()
        ],
    }
    if not isinstance(torch, str):
        rows["images/s of torch.compile"] = [f"{torch[size]:,.1f}" for size in rates]
        rows["ratio to torch.compile"] = [
            f"{rate / torch[size]:.2f}" for size, rate in rates.items()
        ]
    return rows


def lines(
    raw: RawSummary, found: Agreement, config: VggConfig, peaks: Peaks, torch: Rates | str
) -> list[str]:
    """Return what is printed."""
    rows = table(config, raw.images_per_second, peaks, torch)
    first, *others = (f"| {' | '.join([name, *cells])} |" for name, cells in rows.items())
    model = f"{raw.model}{'' if raw.trained else ' (untrained)'}"
    verdict = (
        f"largest difference of a probability {found.largest:.1e} (bound {LARGEST:g}),"
        f" same first {found.same_first:.1%}, same five {found.same_five:.1%}"
        f" (bound {SAME_FIVE:.0%}): {'within' if found.holds else 'OUTSIDE'} the bounds"
    )
    product = f"{peaks.operations / 1e12:,.2f} TFLOP/s in a product of matrices"
    return [
        f"{model} on {raw.device}, {peaks.precision}, medians of {len(raw.rounds)} rounds",
        f"float16 against float32 on {found.pictures} pictures: {verdict}",
        f"measured: {product}, {peaks.bandwidth / 1e9:,.0f} GB/s",
        *([f"torch.compile: not measured, {torch}"] if isinstance(torch, str) else []),
        "",
        first,
        "|---" * (1 + len(raw.images_per_second)) + "|",
        *others,
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.measure_gpu")
    parser.add_argument("--model", default="vgg16", help="a model of the VGG family")
    parser.add_argument("--device", choices=get_args(DeviceName), default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    settings = settings_for(options.device)
    manifest = load_catalog(settings.model_dir)[options.model]
    sessions = open_served(settings, manifest, lambda *_: None)
    network = network_of(manifest, load_labels(manifest.labels, settings.model_dir))
    assert network is not None
    raw = sessions.summarise([sessions.round() for _ in range(options.rounds)])
    found, peaks = agreement(settings, manifest, sessions), peaks_of(settings)
    torch = time_torch(settings, manifest, network, sessions.sizes, options.rounds)
    for line in lines(raw, found, network, peaks, torch):
        say(line)
    if options.json is not None:
        measured = {
            "machine": describe_machine(),
            "versions": versions(),
            "raw": asdict(raw),
            "agreement": asdict(found),
            "peaks": asdict(peaks),
            "torch": torch,
        }
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
