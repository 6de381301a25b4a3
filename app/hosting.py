"""The models of this process: loaded in the background, each in a state that can be told."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

from app.background import in_background
from app.batching import Batcher, BatchPolicy, Device
from app.catalog import Manifest
from app.classifier import Classifier
from app.costs import RunCost
from app.decoding import DecodePool
from app.errors import ModelFailedError, NotReadyError, UnknownModelError, VggServeError
from app.imaging import ImageLimits, prepare
from app.labels import load_labels
from app.metrics import Metrics
from app.session import Session
from app.warmup import GOLDEN_PHOTO, self_test, warm_up
from app.weights import Provisioning, Step, pull

log = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "loading", "ready", "failed"]
_RETRY_LOADING: Final = 5.0
"""Seconds after which to ask again for a model that is loading."""
_CEILING: Final = {"cpu": 4, "cuda": 64}
"""The largest batch size that is tried: on a CPU, 8 gain 2 % and cost 100 MB (DECISIONS.md, 9)."""


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
        image_limits: What is decoded at all.
        open_session: Loads a graph; another one is given by tests.
    """

    provisioning: Provisioning
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    max_batch_size: int | None
    max_queue_delay: float
    queue_budget: float
    image_limits: ImageLimits
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


class HostedModel:
    """One model, from its manifest to its answers.

    Attributes:
        manifest: What it is.
        state: Where it stands.
        progress: While loading, the step and the bytes done and in all.
        error: If it failed, what an operator has to mend.
        loaded: Once it is ready.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Wait to be loaded."""
        self.manifest = manifest
        self.state: State = "waiting"
        self.progress: tuple[str, int, int | None] = ("waiting", 0, None)
        self.error: str | None = None
        self.loaded: Loaded | None = None

    def ready(self) -> Loaded:
        """Return the loaded model.

        Raises:
            NotReadyError: While it is loading.
            ModelFailedError: If it could not be loaded.
        """
        if self.loaded is not None:
            return self.loaded
        name = self.manifest.name
        if self.state == "failed":
            raise ModelFailedError(f"The model {name} could not be loaded; the log says why.")
        raise NotReadyError(
            f"The model {name} is still loading ({self.describe_progress()}).",
            retry_after=_RETRY_LOADING,
        )

    def describe_progress(self) -> str:
        """Say what loading is at: `fetching, 120 of 553 MB`."""
        step, done, total = self.progress
        if not total:
            return step
        return f"{step}, {done // 10**6} of {total // 10**6} MB"


class Models:
    """All models that this process serves."""

    def __init__(
        self,
        manifests: Sequence[Manifest],
        hosting: Hosting,
        decoders: DecodePool,
        metrics: Metrics,
    ) -> None:
        """Take in the models; nothing is loaded before `load`.

        Args:
            manifests: The first is the default.
            hosting: How they are hosted.
            decoders: Threads that decode.
            metrics: Told of everything.
        """
        self._models = {manifest.name: HostedModel(manifest) for manifest in manifests}
        self._hosting = hosting
        self._decoders = decoders
        self._metrics = metrics
        self._device = Device()
        self.default = manifests[0].name

    def all(self) -> Mapping[str, HostedModel]:
        """Map names to models."""
        return self._models

    def get(self, name: str) -> HostedModel:
        """Return the model of this name.

        Raises:
            UnknownModelError: If there is none.
        """
        if name not in self._models:
            served = ", ".join(self._models)
            raise UnknownModelError(f"This server has no model of that name; it has {served}.")
        return self._models[name]

    @property
    def ready(self) -> bool:
        """Tell whether every model can answer."""
        return all(model.loaded is not None for model in self._models.values())

    @property
    def alive(self) -> bool:
        """Tell whether no model has died: one that loads, or never loaded, is not dead."""
        return all(
            model.loaded is None or model.loaded.classifier.batcher.alive
            for model in self._models.values()
        )

    async def load(self) -> None:
        """Load the models one after the other, until one fails."""
        for model in self._models.values():
            model.state = "loading"
            began = time.monotonic()
            try:
                await self._load(model)
            except VggServeError as exc:
                model.state, model.error = "failed", str(exc)
                log.error("%s: not available: %s", model.manifest.name, exc)
                return
            except Exception as exc:
                model.state, model.error = "failed", f"{type(exc).__name__}: {exc}"
                log.exception("%s: not available", model.manifest.name)
                return
            model.state = "ready"
            log.info("%s: ready after %.1f s", model.manifest.name, time.monotonic() - began)

    async def stop(self) -> None:
        """Let the runs at hand end and answer everyone who waits."""
        for model in self._models.values():
            if model.loaded is not None:
                await model.loaded.classifier.batcher.stop()

    async def _load(self, model: HostedModel) -> None:
        manifest, hosting = model.manifest, self._hosting

        def progress(step: Step, done: int, total: int | None) -> None:
            model.progress = (step, done, total)

        labels = load_labels(manifest.labels, hosting.provisioning.model_dir)
        graph = await in_background(partial(pull, manifest, hosting.provisioning, progress))
        model.progress = ("loading", 0, None)
        session = await in_background(
            partial(
                hosting.open_session, graph.path, device=hosting.device, threads=hosting.threads
            )
        )
        model.progress = ("warming up", 0, None)
        policy = await in_background(
            partial(_prepare_to_run, session, manifest, hosting, trained=graph.trained)
        )
        batcher = Batcher(
            session.run,
            policy,
            self._device,
            observe=partial(self._metrics.ran, manifest.name),
            left=self._metrics.cancelled,
        )
        batcher.start()
        classifier = Classifier(
            manifest.name,
            manifest.preprocess,
            labels,
            batcher=batcher,
            decoders=self._decoders,
            limits=hosting.image_limits,
            metrics=self._metrics,
        )
        self._metrics.add_model(
            manifest.name,
            device=session.device,
            weights_sha256=graph.weights_sha256,
            trained=graph.trained,
            depth=lambda: batcher.depth,
            predicted_wait=classifier.predicted_wait,
        )
        model.loaded = Loaded(
            classifier, session.device, graph.weights_sha256, graph.trained, policy.cost
        )


def _prepare_to_run(
    session: Session,
    manifest: Manifest,
    hosting: Hosting,
    *,
    trained: bool,
) -> BatchPolicy:
    sizes, cost = warm_up(
        session.run,
        manifest.preprocess.crop,
        max_batch_size=hosting.max_batch_size,
        longest_run=hosting.queue_budget / 2,
        ceiling=_CEILING[session.device],
    )
    golden, _ = prepare(GOLDEN_PHOTO.read_bytes(), manifest.preprocess, ImageLimits())
    session.trim()
    self_test(session.run, golden, sizes, trained=trained)
    return BatchPolicy(
        sizes=sizes,
        cost=cost,
        max_queue_delay=hosting.max_queue_delay,
        queue_budget=hosting.queue_budget,
        stuck_after=max(30.0, 20 * cost(sizes[-1])),
    )
