"""session.run alone, without a server, at each batch size: the most that a service can reach.

The sessions are the service's own, or one for each way to compute the network (`--precision`,
`--conv`).
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, Literal, TypeAlias

import numpy as np

from app.graph.conv_plan import ConvPlan
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.machine import usable_cpus
from app.records import Layer, Preprocess, Progress, Run
from app.runtime.conv_choice import ConvChoice
from app.runtime.open_session import Session, find_device, open_session
from app.service.parts import gpus, provisioning
from app.service.settings import Settings
from app.setup_errors import SetupError
from app.weights.calibration.calibrated_graph import CalibratedGraph
from app.weights.calibration.photos import find_photos
from app.weights.labels import load_labels, network_of
from app.weights.manifests.manifest import Manifest
from app.weights.provisioning import Calibration, for_device, graph_dir
from app.weights.pull import pull

SIZES: Final = (1, 2, 4, 8, 16)
_CUDA_SIZES: Final = (*SIZES, 32, 64)
_LEAST_RUNS: Final = 3
_LEAST_SECONDS: Final = 0.2

Comparable: TypeAlias = Literal["float32", "int8"]
"""Precisions of a CPU."""
Rates: TypeAlias = dict[str, float]
"""Images per second, by batch size."""
Round: TypeAlias = dict[str | None, Rates]
"""Rates by way to compute the network; None is what the service does."""


@dataclass(frozen=True, slots=True)
class RawSummary:
    """Images per second of session.run alone.

    Attributes:
        images_per_second: Medians of the rounds.
        best: The highest of them, at best_size.
        way: How the network is computed, if several ways are compared.
        beside: Medians of the other ways.
    """

    model: str
    trained: bool
    device: str
    threads: int
    rounds: tuple[Rates, ...]
    images_per_second: Rates
    best_size: int
    best: float
    way: str | None
    beside: dict[str, Rates]


@dataclass(frozen=True, slots=True)
class RawSessions:
    """Sessions of one model that are timed without a server.

    Attributes:
        sessions: By their way to compute the network; the service's own is named None.
    """

    model: str
    crop: int
    trained: bool
    threads: int
    sizes: tuple[int, ...]
    sessions: dict[str | None, Session]

    def round(self) -> Round:
        """Time every batch size once with each session."""
        return {
            way: measure_round(session.run, self.crop, self.sizes)
            for way, session in self.sessions.items()
        }

    def summarise(self, rounds: Sequence[Round]) -> RawSummary:
        """Take the medians of the rounds, at least one; other ways are compared with the first."""
        medians = {
            way: {size: median(one[way][size] for one in rounds) for size in rates}
            for way, rates in rounds[0].items()
        }
        first, session = next(iter(self.sessions.items()))
        rates = medians.pop(first)
        best = max(rates, key=lambda size: rates[size])
        return RawSummary(
            model=self.model,
            trained=self.trained,
            device=session.device,
            threads=self.threads,
            rounds=tuple(one[first] for one in rounds),
            images_per_second=rates,
            best_size=int(best),
            best=rates[best],
            way=first,
            beside={str(way): other for way, other in medians.items()},
        )


def open_served(settings: Settings, manifest: Manifest, progress: Progress) -> RawSessions:
    """Load a model as the service would, on the first GPU or on the CPU."""
    gpu = gpus(settings)[0]
    device = find_device(settings.device, gpu)  # fails before half a gigabyte is fetched
    threads = settings.threads or usable_cpus()
    graph = pull(manifest, provisioning(settings, device), progress)
    session = open_session(graph.path, device=device, threads=threads, gpu=gpu)
    sizes = _CUDA_SIZES if device == "cuda" else SIZES
    session.tune(sizes[-1])
    crop = manifest.preprocess.crop
    return RawSessions(manifest.name, crop, graph.trained, threads, sizes, {None: session})


def open_ways(
    settings: Settings,
    manifest: Manifest,
    ways: Sequence[ConvChoice] = ("auto",),
    precisions: Sequence[Comparable] = ("float32",),
) -> RawSessions:
    """Load a network with untrained weights once for each way to compute it on a CPU.

    float32 has several ways to compute convolutions, int8 has one. Each graph is deleted as soon as it
    is loaded, so that those of the service stay as they are.
    """
    option = "--conv" if precisions == ("float32",) else "--precision"
    config = network_of(manifest, load_labels(manifest.labels, settings.model_dir))
    if config is None:
        raise SetupError(
            f"{option}: {manifest.name} is a ready graph, whose layers are fixed."
            " Name a model of the VGG family with --model."
        )
    if find_device(settings.device, gpus(settings)[0]) == "cuda":
        raise SetupError(f"{option} compares ways of a CPU. Add --device cpu.")
    settings = settings.model_copy(update={"precision": "float32"})
    sources = provisioning(settings, "cpu")
    if "winograd" in ways and len(sources.plans) == 1:
        raise SetupError("--conv winograd: onnxruntime has no layout for it on this processor.")
    preprocess, layers = manifest.preprocess, partial(untrained_layers, config)
    writers: dict[str, Callable[[Path], None]] = {}
    for precision in precisions:
        if precision == "int8":
            calibration = for_device(sources, "cpu", precision).calibration
            writers[precision] = _int8(calibration, config, layers, preprocess)
            continue
        for way in ways:
            chooser = provisioning(settings.model_copy(update={"conv": way}), "cpu").plan_for
            plan = chooser(config, lambda: None)
            writers[way] = partial(_write_float32, config, layers, preprocess, plan)
    threads = settings.threads or usable_cpus()
    serving = graph_dir(settings.model_dir, settings.cache_dir)
    serving.mkdir(parents=True, exist_ok=True)
    sessions: dict[str | None, Session] = {}
    for computed, write in writers.items():
        # A loaded graph is mapped and needs its file no longer (except on Windows, for a while).
        with tempfile.TemporaryDirectory(
            dir=serving, prefix=".bench-", ignore_cleanup_errors=True
        ) as name:
            write(Path(name))
            sessions[computed] = open_session(
                Path(name) / GRAPH_FILE, device="cpu", threads=threads
            )
            sessions[computed].tune(SIZES[-1])
    crop, trained = manifest.preprocess.crop, False
    return RawSessions(manifest.name, crop, trained, threads, SIZES, sessions)


def _int8(
    calibration: Calibration | None,
    config: VggConfig,
    layers: Callable[[], Iterable[tuple[str, Layer]]],
    preprocess: Preprocess,
) -> Callable[[Path], None]:
    """Return what writes the int8 graph, calibrated on one photo: speed does not depend on ranges."""
    if calibration is None:  # for_device would have refused
        raise SetupError("--precision int8: there is nothing to calibrate it with.")
    return CalibratedGraph(
        config,
        layers,
        preprocess,
        trained=False,
        files=find_photos(None, calibration.samples[:1]),
        open_probe=calibration.open_probe,
        progress=lambda _done, _runs: None,
    ).write


def _write_float32(
    config: VggConfig,
    layers: Callable[[], Iterable[tuple[str, Layer]]],
    preprocess: Preprocess,
    plan: ConvPlan,
    place: Path,
) -> None:
    write_vgg(place, config, layers(), preprocess, plan=plan)


def measure_round(run: Run, crop: int, sizes: Sequence[int] = SIZES) -> Rates:
    """Time every batch size: the median of a few runs after a warm-up run."""
    return {str(size): size / median(_times(run, crop, size)) for size in sizes}


def _times(run: Run, crop: int, size: int) -> Iterator[float]:
    batch = np.random.default_rng(0).integers(0, 256, (size, crop, crop, 3), np.uint8)
    run(batch)
    spent, runs = 0.0, 0
    while runs < _LEAST_RUNS or spent < _LEAST_SECONDS:
        began = time.perf_counter()
        run(batch)
        took = max(time.perf_counter() - began, 1e-9)
        spent, runs = spent + took, runs + 1
        yield took
