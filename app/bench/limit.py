"""What `vgg-serve bench --raw` measures: a session of its own, and what its device could do."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from app.bench.card import Card, compare, limits, time_torch, views
from app.bench.raw import SIZES, RawSummary, measure_round, summarise_rounds
from app.bench.roofline import Peaks, measure_peaks
from app.bench.torch_side import find_torch, torch_run
from app.bench.ways import Ways, open_ways
from app.errors import SetupError
from app.graph.float16 import Precision
from app.graph.vgg import architecture
from app.machine import usable_cpus
from app.runtime.conv_choice import ConvChoice
from app.runtime.cuda_tuning import SAFE, Gpu, providers
from app.runtime.find_device import find_device
from app.runtime.ort import CPU, open_graph, run
from app.runtime.session import Session
from app.service.parts import gpus, provisioning
from app.service.settings import Settings
from app.serving.loading import CEILING
from app.web.page.files import STATIC
from app.weights.manifests import Manifest, load_catalog
from app.weights.provisioning import Progress, Provisioning
from app.weights.pull import pull

_CUDA_SIZES: Final = (*SIZES, 32, 64)
_SIDES: Final = {"cpu": 512, "cuda": 8192}
"""Of the matrices whose product gives the matrix rate."""
_ELEMENTS: Final = {"cpu": 2**24, "cuda": 2**28}
"""Of the array that is passed over for the bandwidth."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A session of our own, and whose it is.

    Attributes:
        session: On the device that is measured.
        manifest: Of its model.
        trained: False for a stand-in of the true size.
        threads: Of a run, on a CPU.
        sizes: Batch sizes to measure.
        precision: Of its layers.
        sources: Where the graph of the other precision comes from.
        gpu: Which, on CUDA.
        ways: What it is compared with; None for nothing.
    """

    session: Session
    manifest: Manifest
    trained: bool
    threads: int
    sizes: tuple[int, ...]
    precision: Precision
    sources: Provisioning
    gpu: Gpu
    ways: Ways | None = None

    def round(self) -> dict[str, float]:
        """Measure every batch size once."""
        if self.ways is not None:
            return self.ways.round()
        return measure_round(self.session.run, self.manifest.preprocess.crop, self.sizes)

    def summarise(self, rounds: list[dict[str, float]]) -> RawSummary:
        """Take the medians."""
        summary = summarise_rounds(
            rounds,
            model=self.manifest.name,
            trained=self.trained,
            device=self.session.device,
            threads=self.threads,
        )
        if self.ways is None:
            return summary
        return replace(summary, way=next(iter(self.ways.sessions)), beside=self.ways.medians())

    def card(self, photos: Sequence[bytes], rounds: int) -> Card:
        """Measure what the device could do; the photos show how well the precisions agree.

        Raises:
            SetupError: If the graph of the other precision cannot be had.
        """
        other: Precision = "float32" if self.precision == "float16" else "float16"
        graph = pull(self.manifest, replace(self.sources, precision=other), lambda *_: None)
        agreement = None
        if graph.precision == other:  # else the network cannot be had in float16
            session = self._open(graph.path)
            pictures = views(photos, self.manifest.preprocess)
            agreement = compare(session.run, self.session.run, pictures)
            del session  # its memory, before the large matrices
        place = self.session.device
        peaks = measure_peaks(self._on_device, self.precision, _SIDES[place], _ELEMENTS[place])
        return self._beside(peaks, rounds, Card(agreement, peaks, 0, {}, {}, ""))

    def _beside(self, peaks: Peaks, rounds: int, card: Card) -> Card:
        if self.manifest.checkpoint is None:
            return replace(card, without_torch="only networks of the VGG family are compared")
        config = architecture(str(self.manifest.architecture))
        place, preprocess = self.session.device, self.manifest.preprocess
        torch = find_torch(place)
        missing = torch if isinstance(torch, str) else ""
        rates: dict[str, float] = {}
        if not isinstance(torch, str):
            make = partial(
                torch_run, torch, config, preprocess, place=place, precision=self.precision
            )
            rates = time_torch(make, preprocess.crop, self.sizes, rounds)
        return replace(
            card,
            network=2 * config.multiply_adds(),
            limit=limits(config, peaks, self.sizes),
            torch=rates,
            without_torch=missing,
        )

    def _open(self, graph: Path) -> Session:
        return Session(graph, device=self.session.device, threads=self.threads, gpu=self.gpu)

    def _on_device(self, graph: bytes, values: NDArray[np.uint8]) -> Callable[[], Any]:
        where = CPU
        if self.session.device == "cuda":
            where = providers(replace(self.gpu, tensorrt=False), SAFE, Path(), 1, 1)
        return partial(run, open_graph(graph, where, self.threads), values)


def open_limit(
    settings: Settings,
    model: str | None,
    device: Literal["auto", "cpu", "cuda"] | None,
    threads: int,
    conv: str | None = None,
    *,
    shown: Callable[[str], AbstractContextManager[Progress]],
) -> Limit:
    """Load a model for `--raw`, on the first GPU or on the CPU.

    With `conv`, ways to compute convolutions with commas between them, weights are not fetched.
    `shown` gives, for the name of a model, what shows the progress of its pull.

    Raises:
        SetupError: If the model or the device is not there.
    """
    catalog = load_catalog(settings.model_dir)
    name = model or settings.models[0]
    if name not in catalog:
        raise SetupError(f"There is no model {name!r}; there are {', '.join(sorted(catalog))}.")
    gpu = gpus(settings)[0]
    place = find_device(device or settings.device, gpu)  # before half a gigabyte is fetched
    sources = provisioning(settings, place)
    threads = threads or settings.threads or usable_cpus()
    if conv is not None:
        if place == "cuda":
            raise SetupError("--conv compares what a CPU can do: add --device cpu.")
        ways = open_ways(
            catalog[name],
            _ways(conv),
            model_dir=settings.model_dir,
            threads=threads,
            images=settings.max_batch_size or CEILING["cpu"],
            sizes=SIZES,
        )
        return Limit(
            session=ways.first,
            manifest=catalog[name],
            trained=False,
            threads=threads,
            sizes=SIZES,
            precision="float32",
            sources=sources,
            gpu=gpu,
            ways=ways,
        )
    with shown(name) as progress:
        graph = pull(catalog[name], sources, progress)
    session = Session(graph.path, device=place, threads=threads, gpu=gpu)
    sizes = _CUDA_SIZES if place == "cuda" else SIZES
    session.tune(sizes[-1])
    return Limit(
        session, catalog[name], graph.trained, threads, sizes, graph.precision, sources, gpu
    )


def _ways(text: str) -> tuple[ConvChoice, ...]:
    """Read the names of ways.

    Raises:
        SetupError: If there is none of a name.
    """
    known = get_args(ConvChoice)
    found = tuple(name.strip() for name in text.split(","))
    if not set(found) <= set(known):
        raise SetupError(f"--conv: {text!r} is not a list of {', '.join(known)}.")
    return cast(tuple[ConvChoice, ...], found)


def sample_photos() -> list[bytes]:
    """Return the photos of the demo page."""
    return [path.read_bytes() for path in sorted((STATIC / "samples").glob("*.jpg"))]
