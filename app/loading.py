"""One model, from its manifest to its first answer: provide, load, warm, test, start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from app.background import in_background
from app.batching import Batcher
from app.catalog import Manifest
from app.classifier import Classifier
from app.costs import BatchPolicy, RunCost
from app.decoding import DecodePool
from app.imaging import ImageLimits, Prepare, prepare
from app.labels import load_labels
from app.lanes import Device, Lane
from app.metrics import Metrics
from app.session import Session
from app.warmup import GOLDEN_PHOTO, self_test, warm_up
from app.weights import Progress, Provisioning, pull

_CEILING: Final = {"cpu": 4, "cuda": 64}
"""The largest batch size that is tried: on a CPU, 8 gain 4 % and cost 100 MB (DECISIONS.md, 9)."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How models are hosted.

    Attributes:
        provisioning: Where weights come from.
        device: `auto`, `cpu` or `cuda`.
        threads: Of one run, on a CPU.
        max_batch_size: None to choose it by measurement.
        max_queue_delay: Seconds; see BatchPolicy.
        queue_budget: Seconds; see BatchPolicy.
        prepare: Makes pixels of an upload.
        open_session: Loads a graph; another one is given by tests.
    """

    provisioning: Provisioning
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    max_batch_size: int | None
    max_queue_delay: float
    queue_budget: float
    prepare: Prepare
    open_session: Callable[..., Session] = Session


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known of a model once it is ready.

    Attributes:
        classifier: Answers requests.
        device: `cpu` or `cuda`.
        weights_sha256: Of the published file.
        trained: False for weights that never saw an image.
        cost: What a run costs.
    """

    classifier: Classifier
    device: str
    weights_sha256: str
    trained: bool
    cost: RunCost


async def load_model(
    manifest: Manifest,
    hosting: Hosting,
    *,
    device: Device,
    decoders: DecodePool,
    metrics: Metrics,
    progress: Progress,
) -> Loaded:
    """Bring a model to where it answers; everything slow happens in the background.

    Args:
        manifest: What it is.
        hosting: How it is hosted.
        device: What its runs share with other models.
        decoders: Threads that decode.
        metrics: Told of everything.
        progress: Told the step; called from another thread.

    Raises:
        VggServeError: If a file, the device or the self-test is not what it should be.
    """
    labels = load_labels(manifest.labels, hosting.provisioning.model_dir)
    graph = await in_background(partial(pull, manifest, hosting.provisioning, progress))
    progress("loading", 0, None)
    open_session = partial(hosting.open_session, device=hosting.device, threads=hosting.threads)
    session = await in_background(partial(open_session, graph.path))
    progress("warming up", 0, None)
    policy = await in_background(
        partial(_prepare_to_run, session, manifest, hosting, trained=graph.trained)
    )
    batcher = Batcher(
        [Lane(session.run, device)],
        policy,
        observe=partial(metrics.ran, manifest.name),
        left=metrics.cancelled,
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
        device=session.device,
        weights_sha256=graph.weights_sha256,
        trained=graph.trained,
        depth=lambda: batcher.depth,
        predicted_wait=classifier.predicted_wait,
    )
    return Loaded(classifier, session.device, graph.weights_sha256, graph.trained, policy.cost)


def _prepare_to_run(
    session: Session,
    manifest: Manifest,
    hosting: Hosting,
    *,
    trained: bool,
) -> BatchPolicy:
    session.tune(hosting.max_batch_size or _CEILING[session.device])
    sizes, cost = warm_up(
        session.run,
        manifest.preprocess.crop,
        max_batch_size=hosting.max_batch_size,
        longest_run=hosting.queue_budget / 2,
        ceiling=_CEILING[session.device],
    )
    golden, _ = prepare(GOLDEN_PHOTO.read_bytes(), manifest.preprocess, ImageLimits(), exact=True)
    session.trim()
    self_test(session.run, golden, sizes, trained=trained)
    return BatchPolicy(
        sizes=sizes,
        cost=cost,
        max_queue_delay=hosting.max_queue_delay,
        queue_budget=hosting.queue_budget,
        stuck_after=max(30.0, 20 * cost(sizes[-1])),
    )
