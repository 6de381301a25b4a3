"""One model, from its manifest to its first answer: pull, load, warm up, test, start."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Final, Literal, TypeVar

from app.errors import RequestError
from app.graph.conv_plan import DIRECT
from app.graph.float16 import Precision, PrecisionChoice
from app.graph.own_answers import read_answers
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Label, Progress
from app.runtime.cuda_options import Gpu
from app.runtime.open_session import DeviceName, Session, find_device, open_session
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy
from app.serving.batching.lanes import Device, Lane
from app.serving.batching.queue import Queue
from app.serving.drift.watch import Watch
from app.serving.explain_warmup import warm_up_explainers
from app.serving.metrics import Metrics
from app.serving.warmup import (
    BATCH_TOLERANCE,
    GOLDEN_CLASSES,
    GOLDEN_PHOTO,
    self_test,
    warm_up,
)
from app.setup_errors import ManifestError, SessionError
from app.weights.calibration.agreement import Agreement, read_agreement
from app.weights.labels import IMAGENET
from app.weights.manifests.catalog import find_file
from app.weights.manifests.manifest import Manifest
from app.weights.provisioning import Provisioning, for_device
from app.weights.pull import pull
from app.weights.store import ServingGraph

log = logging.getLogger(__name__)

T = TypeVar("T")

CEILING: Final = {"cpu": 4, "int8": 8, "cuda": 64}
"""Largest batch size to try. On a CPU, 8 gains 4 % and costs 100 MB in float32 (DECISIONS.md, 9), and 40 MB
in int8, which is on a CPU too."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How models are hosted; BatchPolicy and Queue explain the limits of their queues.

    `open_session` and `find_device` are fakes in tests.
    """

    provisioning: Provisioning
    device: Literal["auto", "cpu", "cuda"]
    threads: int  # per run, on a CPU
    max_batch_size: int | None  # None to choose it by measurement
    max_queue_delay: float
    queue_budget: float
    decode_backlog: Callable[[int], float] = lambda _: 0.0
    open_session: Callable[..., Session] = open_session
    find_device: Callable[[DeviceName, Gpu], Literal["cpu", "cuda"]] = find_device
    precision: PrecisionChoice = "auto"  # float16 on CUDA, float32 on a CPU
    gpus: tuple[Gpu, ...] = (Gpu(),)  # used on CUDA


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready."""

    manifest: Manifest
    labels: Sequence[Label]  # one per class
    queue: Queue
    device: str  # cpu or cuda
    weights_sha256: str  # of the published file
    trained: bool  # False for random weights
    graph: str = ""  # file of its serving graph
    precision: Precision = "float32"
    devices: int = 1
    convolutions: Literal["direct", "winograd"] = "direct"  # winograd if some are lowered
    agreement: Agreement | None = None  # of int8 with float32
    watch: Watch | None = field(default=None, compare=False)  # counts its photos, once it answers


async def load_model(
    manifest: Manifest,
    labels: Sequence[Label],
    hosting: Hosting,
    *,
    devices: Sequence[Device],
    metrics: Metrics,
    progress: Progress,
    lost: Callable[[], None] = lambda: None,
) -> Loaded:
    """Load a model and start its queue; everything slow happens in the background.

    The devices, one for each of `hosting.gpus`, are shared with other models. `progress` is called
    from another thread; `lost`, when a device cannot run anything until the process restarts.

    Raises:
        VggServeError: If a file, the device or the self-test fails.
    """
    device = await in_background(partial(_find_device, hosting))
    provisioning = for_device(hosting.provisioning, device, hosting.precision)
    graph = await in_background(partial(pull, manifest, provisioning, progress))
    agreement = read_agreement(graph.path.parent)
    if agreement is not None:
        log.info("%s: %s", manifest.name, agreement)
    if manifest.temperature != 1:
        log.info(
            "%s: its manifest has the temperature %g, which divides its logits before softmax",
            manifest.name,
            manifest.temperature,
        )
    progress("loading", 0, None)
    gpus = hosting.gpus if device == "cuda" else hosting.gpus[:1]
    open_session = partial(hosting.open_session, device=device, threads=hosting.threads)
    sessions = [await in_background(partial(open_session, graph.path, gpu=gpu)) for gpu in gpus]
    progress("warming up", 0, None)
    policy = await in_background(
        partial(
            _prepare_to_run,
            sessions,
            manifest,
            hosting,
            known=_known(manifest, labels) if graph.trained else (),
            explained=len(labels) if graph.trained else 0,
            graph=graph,
        )
    )
    batcher = Batcher(
        _lanes(sessions, devices),
        policy,
        observe=partial(metrics.ran, manifest.name),
        left=metrics.cancelled,
        lost=lost,
        decode_backlog=hosting.decode_backlog,
    )
    batcher.start()
    return Loaded(
        manifest,
        labels,
        batcher,
        device,
        graph.weights_sha256,
        graph.trained,
        str(graph.path),
        graph.precision,
        len(gpus),
        "direct" if graph.plan == DIRECT else "winograd",
        agreement,
    )


def _known(manifest: Manifest, labels: Sequence[Label]) -> Collection[int]:
    """Return the classes that the photo of the self-test may have; none if nobody knows."""
    if manifest.selftest is None:
        return GOLDEN_CLASSES if manifest.labels == IMAGENET else ()
    wanted = str(manifest.selftest.class_)
    known = [i for i, label in enumerate(labels) if wanted in {label.wnid, label.text, str(i)}]
    if not known:
        raise ManifestError(
            manifest.path,
            "selftest.class",
            f"is {wanted!r}, which is no class of {manifest.labels}",
        )
    return known


def _find_device(hosting: Hosting) -> Literal["cpu", "cuda"]:
    """Return `cuda` only if each of the GPUs can be used."""
    found = {hosting.find_device(hosting.device, gpu) for gpu in hosting.gpus}
    return "cpu" if "cpu" in found else "cuda"


def _lanes(sessions: Sequence[Session], devices: Sequence[Device]) -> list[Lane]:
    """Return the lanes of all sessions; those of one session share a device."""
    made: list[Lane] = []
    for session, device in zip(sessions, devices, strict=False):
        device.ahead = len(session.lanes) - 1
        made += [
            Lane(run, device, blank, explainer, energies)
            for (run, blank), explainer, energies in zip_longest(
                session.lanes, session.explainers, session.energies
            )
        ]
    return made


def _prepare_to_run(
    sessions: Sequence[Session],
    manifest: Manifest,
    hosting: Hosting,
    *,
    known: Collection[int],
    explained: int,
    graph: ServingGraph,
) -> BatchPolicy:
    """Warm up and test all sessions; batch sizes and costs of the first hold for the others.

    `explained` is the number of classes that can be explained, 0 of an untrained network.
    """
    precision = graph.precision
    ceiling = CEILING["int8" if precision == "int8" else sessions[0].device]
    photo = GOLDEN_PHOTO
    if manifest.selftest is not None:
        photo = find_file(manifest.selftest.photo, hosting.provisioning.model_dir)
    try:
        golden, _ = prepare(photo.read_bytes(), manifest.preprocess, ImageLimits(), exact=True)
    except (OSError, RequestError) as exc:
        raise SessionError(f"{photo}: cannot be used as the photo of the self-test: {exc}") from exc
    own = read_answers(graph.path.parent, manifest.temperature)
    for session in sessions:
        session.tune(hosting.max_batch_size or ceiling)
    sizes, cost = warm_up(
        sessions[0].run,
        manifest.preprocess.crop,
        max_batch_size=hosting.max_batch_size,
        longest_run=hosting.queue_budget / 2,
        ceiling=ceiling,
    )
    tolerance, sharper = BATCH_TOLERANCE[precision], max(1.0, 1 / manifest.temperature)
    explaining, cells_factor = None, 1.0
    for session in reversed(sessions):
        if explained and session.explainers:
            explaining, cells_factor = warm_up_explainers(
                session.explainers, golden, explained, sizes[-1], precision
            )
        session.trim()
        for run, _ in session.lanes:
            self_test(
                run, golden, sizes, known=known, tolerance=tolerance, own=own, sharper=sharper
            )
    return BatchPolicy(
        sizes=sizes,
        cost=cost,
        max_queue_delay=hosting.max_queue_delay,
        queue_budget=hosting.queue_budget,
        stuck_after=max(30.0, 20 * cost(sizes[-1])),
        explaining=explaining,
        cells_factor=cells_factor,
    )


async def in_background(work: Callable[[], T]) -> T:
    """Do the work in a daemon thread and return or raise what it does.

    With `asyncio.to_thread`, a process that is to end would wait for the work: for minutes, if a
    download has stalled.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # if the caller is cancelled, the work goes on

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001 (the caller gets it, whatever it is)
            future.set_exception(exc)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return await asyncio.wrap_future(future)
