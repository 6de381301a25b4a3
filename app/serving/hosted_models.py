"""The models of this process: loaded in the background, each in a state that can be told."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from app.errors import ModelFailedError, NotReadyError, UnknownModelError, VggServeError
from app.images.decode_pool import DecodePool
from app.serving.batching.lanes import Device
from app.serving.gpu_metrics import open_gpu
from app.serving.loading import Hosting, Loaded, load_model
from app.serving.metrics import Metrics
from app.weights.manifests import Manifest

log = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "loading", "ready", "failed"]


class HostedModel:
    """One model, from its manifest to its answers.

    Attributes:
        manifest: What it is.
        state: Where it stands.
        progress: While loading, the step and the bytes done and in all.
        loaded: Once it is ready.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Wait to be loaded."""
        self.manifest = manifest
        self.state: State = "waiting"
        self.progress: tuple[str, int, int | None] = ("waiting", 0, None)
        self.loaded: Loaded | None = None

    @property
    def answers(self) -> bool:
        """Tell whether it is loaded, and its run loop neither dead nor hung."""
        return self.loaded is not None and self.loaded.classifier.batcher.alive

    def tell_ready(self) -> float:
        """Return 1 if it answers, else 0."""
        return float(self.answers)

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
        raise NotReadyError(f"The model {name} is still loading ({self.describe_progress()}).")

    def note(self, step: str, done: int, total: int | None) -> None:
        """Remember what loading is at, and log each step and each tenth of a download."""
        before, self.progress = self.progress, (step, done, total)
        if step != before[0] or (
            step == "fetching" and _tenths(done, total) != _tenths(*before[1:])
        ):
            log.info("%s: %s", self.manifest.name, self.describe_progress())

    def describe_progress(self) -> str:
        """Say what loading is at: `fetching, 120 of 553 MB`."""
        step, done, total = self.progress
        if total is None or total < 10**6:
            return step
        return f"{step}, {done // 10**6} of {total // 10**6} MB"


class Models:
    """All models that this process serves.

    Attributes:
        lost: Set once a device can run nothing more until the process is started anew.
    """

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
        for name, model in self._models.items():
            metrics.expect_model(name, model.tell_ready)
        self._hosting = hosting
        self._decoders = decoders
        self._metrics = metrics
        self._devices = [Device() for _ in hosting.gpus]
        self._watched = False
        self.lost = asyncio.Event()
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
        """Tell whether every model can answer: is loaded, and its run loop neither dead nor hung."""
        return all(model.answers for model in self._models.values())

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
                model.loaded = await load_model(
                    model.manifest,
                    self._hosting,
                    devices=self._devices,
                    decoders=self._decoders,
                    metrics=self._metrics,
                    progress=model.note,
                    lost=self.lost.set,
                )
            except VggServeError as exc:
                model.state = "failed"
                why = f" ({exc.__cause__})" if exc.__cause__ else ""
                log.error("%s: not available: %s%s", model.manifest.name, exc, why)
                return
            except Exception:
                model.state = "failed"
                log.exception("%s: not available", model.manifest.name)
                return
            model.state = "ready"
            self._watch_gpus(model.loaded)
            log.info("%s: ready after %.1f s", model.manifest.name, time.monotonic() - began)

    def _watch_gpus(self, loaded: Loaded) -> None:
        """Show the GPUs in the metrics, once the first model runs on them."""
        if loaded.device != "cuda" or self._watched:
            return
        self._watched = True
        for gpu in self._hosting.gpus:
            read = open_gpu(gpu.device_id)
            if read is not None:
                self._metrics.add_gpu(gpu.device_id, read)

    async def stop(self) -> None:
        """Let the runs at hand end and answer everyone who waits."""
        for model in self._models.values():
            if model.loaded is not None:
                await model.loaded.classifier.batcher.stop()


def _tenths(done: int, total: int | None) -> int:
    return 10 * done // total if total else 0
