"""The sessions that `vgg-serve bench --raw` times: the service's own, or one for each way of `--conv`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.bench.raw import SIZES, RawSummary, Round, measure_round, summarise_rounds
from app.errors import SetupError
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import architecture
from app.machine import usable_cpus
from app.records import Progress
from app.runtime.conv_choice import ConvChoice
from app.runtime.find_device import find_device
from app.runtime.open_session import Session, open_session
from app.service.parts import gpus, provisioning
from app.service.settings import Settings
from app.weights.manifests import Manifest
from app.weights.provisioning import SERVING
from app.weights.pull import pull

_CUDA_SIZES: Final = (*SIZES, 32, 64)


@dataclass(frozen=True, slots=True)
class RawSessions:
    """Sessions of one model that are timed without a server.

    Attributes:
        crop: Side of the model's images (pixels).
        trained: False for untrained weights of the true size.
        threads: Threads per run, on a CPU.
        sizes: Batch sizes to time.
        sessions: By their way to compute convolutions; the service's own is named None.
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
        """Take the medians of the rounds."""
        device = next(iter(self.sessions.values())).device
        return summarise_rounds(
            rounds, model=self.model, trained=self.trained, device=device, threads=self.threads
        )


def open_served(settings: Settings, manifest: Manifest, progress: Progress) -> RawSessions:
    """Load a model as the service would, on the first GPU or on the CPU.

    Raises:
        SetupError: If its weights or the device are missing.
    """
    gpu = gpus(settings)[0]
    device = find_device(settings.device, gpu)  # fails before half a gigabyte is fetched
    threads = settings.threads or usable_cpus()
    graph = pull(manifest, provisioning(settings, device), progress)
    session = open_session(graph.path, device=device, threads=threads, gpu=gpu)
    sizes = _CUDA_SIZES if device == "cuda" else SIZES
    session.tune(sizes[-1])
    crop = manifest.preprocess.crop
    return RawSessions(manifest.name, crop, graph.trained, threads, sizes, {None: session})


def open_ways(settings: Settings, manifest: Manifest, ways: Sequence[ConvChoice]) -> RawSessions:
    """Load a network with untrained weights once for each way to compute convolutions on a CPU.

    Each graph is deleted as soon as it is loaded, so that those of the service stay as they are.

    Raises:
        SetupError: If the model has no convolutions of ours, or they cannot be computed that way here.
    """
    if manifest.architecture is None:
        raise SetupError(
            f"--conv: {manifest.name} is a ready graph, whose convolutions are fixed."
            " Name a model of the VGG family with --model."
        )
    if find_device(settings.device, gpus(settings)[0]) == "cuda":
        raise SetupError("--conv compares ways of a CPU. Add --device cpu.")
    if "winograd" in ways and len(provisioning(settings, "cpu").plans) == 1:
        raise SetupError("--conv winograd: onnxruntime has no layout for it on this processor.")
    config = architecture(manifest.architecture)
    threads = settings.threads or usable_cpus()
    serving = settings.model_dir / SERVING
    serving.mkdir(parents=True, exist_ok=True)
    sessions: dict[str | None, Session] = {}
    for way in ways:
        chooser = provisioning(settings.model_copy(update={"conv": way}), "cpu").plan_for
        plan = chooser(config, lambda: None)
        # A loaded graph is mapped and needs its file no longer (except on Windows, for a while).
        with tempfile.TemporaryDirectory(
            dir=serving, prefix=".bench-", ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            write_vgg(folder, config, untrained_layers(config), manifest.preprocess, plan=plan)
            sessions[way] = open_session(folder / GRAPH_FILE, device="cpu", threads=threads)
            sessions[way].tune(SIZES[-1])
    crop = manifest.preprocess.crop
    return RawSessions(
        manifest.name, crop, trained=False, threads=threads, sizes=SIZES, sessions=sessions
    )
