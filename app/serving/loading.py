"""One model, from its manifest to its first answer: provide, load, warm, test, start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from app.graph.conv_plan import DIRECT
from app.graph.float16 import Precision
from app.images.decode_pool import DecodePool
from app.images.header_limits import ImageLimits
from app.images.prepare import Prepare, prepare
from app.records import Progress
from app.runtime.cuda_tuning import Gpu
from app.runtime.find_device import DeviceName, find_device
from app.runtime.open_session import Session, open_session
from app.serving.background import in_background
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from app.serving.classifier import Classifier
from app.serving.metrics import Metrics
from app.serving.warmup import COMPANY_TOLERANCE, GOLDEN_PHOTO, self_test, warm_up
from app.weights.labels import load_labels
from app.weights.manifests import Manifest
from app.weights.provisioning import Provisioning, for_device
from app.weights.pull import pull

CEILING: Final = {"cpu": 4, "cuda": 64}
"""The largest batch size that is tried: on a CPU, 8 gain 4 % and cost 100 MB (DECISIONS.md, 9)."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How models are hosted.

    Attributes:
        provisioning: Where weights come from; its precision is chosen by `precision`.
        device: `auto`, `cpu` or `cuda`.
        threads: Of one run, on a CPU.
        max_batch_size: None to choose it by measurement.
        max_queue_delay: Seconds; see BatchPolicy.
        queue_budget: Seconds; see BatchPolicy.
        prepare: Makes pixels of an upload.
        open_session: Loads a graph; another one is given by tests.
        find_device: Says where to run; another one is given by tests.
        precision: `auto` is float16 on CUDA and float32 on a CPU.
        gpus: Those to use, on CUDA.
    """

    provisioning: Provisioning
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    max_batch_size: int | None
    max_queue_delay: float
    queue_budget: float
    prepare: Prepare
    open_session: Callable[..., Session] = open_session
    find_device: Callable[[DeviceName, Gpu], Literal["cpu", "cuda"]] = find_device
    precision: Literal["auto", "float32", "float16"] = "auto"
    gpus: tuple[Gpu, ...] = (Gpu(),)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known of a model once it is ready.

    Attributes:
        classifier: Answers requests.
        device: `cpu` or `cuda`.
        weights_sha256: Of the published file.
        trained: False for weights that never saw an image.
        cost: What a run costs.
        precision: `float32` or `float16`.
        devices: How many of them.
        convolutions: `winograd` if some of them are lowered, `direct` if none is.
    """

    classifier: Classifier
    device: str
    weights_sha256: str
    trained: bool
    cost: RunCost
    precision: Precision = "float32"
    devices: int = 1
    convolutions: Literal["direct", "winograd"] = "direct"


async def load_model(
    manifest: Manifest,
    hosting: Hosting,
    *,
    devices: Sequence[Device],
    decoders: DecodePool,
    metrics: Metrics,
    progress: Progress,
    lost: Callable[[], None] = lambda: None,
) -> Loaded:
    """Bring a model to where it answers; everything slow happens in the background.

    Args:
        manifest: What it is.
        hosting: How it is hosted.
        devices: What its runs share with other models, one for each of `hosting.gpus`.
        decoders: Threads that decode.
        metrics: Told of everything.
        progress: Told the step; called from another thread.
        lost: Told when a device can run nothing more.

    Raises:
        VggServeError: If a file, the device or the self-test is not what it should be.
    """
    labels = load_labels(manifest.labels, hosting.provisioning.model_dir)
    place = await in_background(partial(_find_device, hosting))
    provisioning = for_device(hosting.provisioning, place, hosting.precision)
    graph = await in_background(partial(pull, manifest, provisioning, progress))
    progress("loading", 0, None)
    gpus = hosting.gpus if place == "cuda" else hosting.gpus[:1]
    open_session = partial(hosting.open_session, device=place, threads=hosting.threads)
    sessions = [await in_background(partial(open_session, graph.path, gpu=gpu)) for gpu in gpus]
    progress("warming up", 0, None)
    policy = await in_background(
        partial(
            _prepare_to_run,
            sessions,
            manifest,
            hosting,
            trained=graph.trained,
            tolerance=COMPANY_TOLERANCE[graph.precision],
        )
    )
    batcher = Batcher(
        _lanes(sessions, devices),
        policy,
        observe=partial(metrics.ran, manifest.name),
        left=metrics.cancelled,
        lost=lost,
    )
    batcher.start()
    classifier = Classifier(
        manifest.name,
        manifest.preprocess,
        labels,
        batcher=batcher,
        decoders=decoders,
        prepare=hosting.prepare,
        metrics=metrics,
    )
    metrics.add_model(
        manifest.name,
        device=place,
        precision=graph.precision,
        weights_sha256=graph.weights_sha256,
        trained=graph.trained,
        depth=lambda: batcher.depth,
        predicted_wait=classifier.predicted_wait,
    )
    return Loaded(
        classifier,
        place,
        graph.weights_sha256,
        graph.trained,
        policy.cost,
        graph.precision,
        len(gpus),
        "direct" if graph.plan == DIRECT else "winograd",
    )


def _find_device(hosting: Hosting) -> Literal["cpu", "cuda"]:
    """Say where to run; each of the GPUs has to do."""
    found = {hosting.find_device(hosting.device, gpu) for gpu in hosting.gpus}
    return "cpu" if "cpu" in found else "cuda"


def _lanes(sessions: Sequence[Session], devices: Sequence[Device]) -> list[Lane]:
    """Make the lanes of all sessions; those of one session share a device."""
    made: list[Lane] = []
    for session, device in zip(sessions, devices, strict=False):
        device.ahead = len(session.lanes) - 1
        made += [Lane(run, device, blank) for run, blank in session.lanes]
    return made


def _prepare_to_run(
    sessions: Sequence[Session],
    manifest: Manifest,
    hosting: Hosting,
    *,
    trained: bool,
    tolerance: float,
) -> BatchPolicy:
    """Warm all of them up; the first one's batch sizes and costs hold for the others too."""
    ceiling = CEILING[sessions[0].device]
    golden, _ = prepare(GOLDEN_PHOTO.read_bytes(), manifest.preprocess, ImageLimits(), exact=True)
    for session in sessions:
        session.tune(hosting.max_batch_size or ceiling)
    sizes, cost = warm_up(
        sessions[0].run,
        manifest.preprocess.crop,
        max_batch_size=hosting.max_batch_size,
        longest_run=hosting.queue_budget / 2,
        ceiling=ceiling,
    )
    for session in sessions:
        session.trim()
        for run, _ in session.lanes:
            self_test(run, golden, sizes, trained=trained, tolerance=tolerance)
    return BatchPolicy(
        sizes=sizes,
        cost=cost,
        max_queue_delay=hosting.max_queue_delay,
        queue_budget=hosting.queue_budget,
        stuck_after=max(30.0, 20 * cost(sizes[-1])),
    )
