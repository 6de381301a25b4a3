"""The models of this process: loaded in the background, each with a state to report."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from app.command_line import command_line, with_network
from app.errors import ModelFailedError, NotReadyError, UnknownModelError, VggServeError
from app.records import Label
from app.serving.batching.lanes import Device
from app.serving.drift.watch import Watch
from app.serving.gpu_metrics import open_gpu
from app.serving.loading import Hosting, Loaded, load_model
from app.serving.metrics import Metrics
from app.setup_errors import DownloadError
from app.weights.class_names import ClassNames
from app.weights.download.hub import forbidden_by
from app.weights.labels import load_labels
from app.weights.manifests.baseline import Baseline, find_baseline
from app.weights.manifests.manifest import Manifest

log = logging.getLogger(__name__)

State: TypeAlias = Literal["waiting", "loading", "ready", "failed"]


class HostedModel:
    """One model and how far it is.

    Attributes:
        manifest: Its manifest.
        labels: One per class, in the order of the output.
        baseline: What its usual photos are like, if anybody has measured that.
        state: `loading` while it loads, then `ready` or `failed`.
        progress: While loading, the step, the bytes done and the total bytes.
        loaded: None until it is ready.
    """

    def __init__(
        self, manifest: Manifest, labels: Sequence[Label] = (), baseline: Baseline | None = None
    ) -> None:
        self.manifest = manifest
        self.labels = labels
        self.baseline = baseline
        self.state: State = "waiting"
        self.progress: tuple[str, int, int | None] = ("waiting", 0, None)
        self.loaded: Loaded | None = None

    @cached_property
    def names(self) -> ClassNames:
        """Return what finds a class by its name."""
        return ClassNames(self.labels)

    def answers(self) -> bool:
        """Return whether the model is loaded, every run loop is alive, and no run hangs."""
        return self.loaded is not None and self.loaded.queue.alive

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
            raise ModelFailedError(f"The model {name} failed to load; the log says why.")
        raise NotReadyError(f"The model {name} is still loading ({self.describe_progress()}).")

    def report_progress(self, step: str, done: int, total: int | None) -> None:
        """Store how far loading is, and log each step and each tenth of a download."""
        before, self.progress = self.progress, (step, done, total)
        if step != before[0] or (
            step in {"fetching", "calibrating"} and _tenths(done, total) != _tenths(*before[1:])
        ):
            log.info("%s: %s", self.manifest.name, self.describe_progress())

    def describe_progress(self) -> str:
        """Return how far loading is: `fetching, 120 of 553 MB`, `calibrating, 48 of 192 runs`."""
        step, done, total = self.progress
        if step == "calibrating" and total:
            return f"{step}, {done} of {total} runs"
        if total is None or total < 10**6:
            return step
        return f"{step}, {done // 10**6} of {total // 10**6} MB"


async def _nobody() -> None:
    """Stand for no other processes."""


class Models:
    """All models that this process serves.

    Attributes:
        default: Name of the default model.
        stand_in: Name of the model that answers for the default one while that does not; empty for none.
        lost: Set once a device cannot run anything until the process restarts.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        hosting: Hosting,
        metrics: Metrics,
        stand_in: str = "",
    ) -> None:
        """List the models, the default first; none is loaded before `load`."""
        folder = hosting.provisioning.model_dir
        self._models = {
            one.name: HostedModel(one, load_labels(one.labels, folder), find_baseline(one, folder))
            for one in manifests
        }
        for name, model in self._models.items():
            metrics.expect_model(name, model.answers)
        self._hosting = hosting
        self._metrics = metrics
        self._devices = [Device() for _ in hosting.gpus]
        self._gpus_shown = False
        self.lost = asyncio.Event()
        self.default = manifests[0].name
        self.stand_in = "" if stand_in == self.default else stand_in

    def all(self) -> Mapping[str, HostedModel]:
        """Return the models by name."""
        return self._models

    def choose(self, name: str | None) -> HostedModel:
        """Return the model for a request that names one, or none: the default or its stand-in.

        Raises:
            UnknownModelError: If there is no model of this name.
        """
        if name is None and self.stands_in:
            return self._models[self.stand_in]
        return self.get(self.default if name is None else name)

    @property
    def stands_in(self) -> bool:
        """Return whether the stand-in answers for the default model, which is not loaded."""
        return (
            bool(self.stand_in)
            and self._models[self.default].loaded is None
            and self._models[self.stand_in].answers()
        )

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
        """Return whether every model can answer, or the stand-in answers for the default one."""
        return all(
            model.answers() or (name == self.default and self.stands_in)
            for name, model in self._models.items()
        )

    @property
    def failed(self) -> bool:
        """Return whether a model could not be loaded and nothing stands in for it."""
        return any(
            model.state == "failed" and not (name == self.default and self.stands_in)
            for name, model in self._models.items()
        )

    @property
    def loaded(self) -> bool:
        """Return whether every model has been loaded, whatever became of it."""
        return all(model.loaded is not None for model in self._models.values())

    @property
    def alive(self) -> bool:
        """Return whether no model has stopped or hangs; one that was never loaded has not."""
        return all(model.loaded is None or model.answers() for model in self._models.values())

    @property
    def command(self) -> str:
        """How to call `vgg-serve` here for weights, even if this process may not use the network."""
        forbidden = forbidden_by(offline=self._hosting.provisioning.offline)
        return with_network(command_line(Path(sys.executable)), forbidden)

    async def load(self, tell: Callable[[], Awaitable[None]] = _nobody) -> None:
        """Load the models one after the other, the stand-in first, until one fails.

        The service goes on without a default model that cannot be downloaded and has a stand-in.

        Args:
            tell: Tells other processes what became of a model, before the log says so.
        """
        first = (self.stand_in, *self._models) if self.stand_in else self._models
        for model in (self._models[name] for name in dict.fromkeys(first)):
            model.state = "loading"
            began = time.monotonic()
            try:
                loaded = await load_model(
                    model.manifest,
                    model.labels,
                    self._hosting,
                    devices=self._devices,
                    metrics=self._metrics,
                    progress=model.report_progress,
                    lost=self.lost.set,
                )
            except VggServeError as exc:
                model.state = "failed"
                why = f" ({exc.__cause__})" if exc.__cause__ else ""
                log.error("%s: failed to load: %s%s", model.manifest.name, exc, why)
                if not (isinstance(exc, DownloadError) and not self.failed):
                    return
                await tell()
                log.warning(
                    "%s answers for %s. To get the weights, run: %s pull %s; then restart",
                    self.stand_in,
                    model.manifest.name,
                    self.command,
                    model.manifest.name,
                )
                continue
            except Exception:
                model.state = "failed"
                log.exception("%s: failed to load: unhandled exception", model.manifest.name)
                return
            self.publish(model, loaded)
            model.state = "ready"
            self._show_gpus(loaded)
            await tell()
            log.info("%s: ready after %.1f s", model.manifest.name, time.monotonic() - began)

    def publish(self, model: HostedModel, loaded: Loaded) -> None:
        """Let a model answer, and show it in the metrics."""
        watch = self._watch(model, loaded)
        model.loaded = replace(loaded, watch=watch)
        self._metrics.add_source(watch.families)
        self._metrics.add_model(
            model.manifest.name,
            device=loaded.device,
            precision=loaded.precision,
            weights_sha256=loaded.weights_sha256,
            trained=loaded.trained,
            depth=lambda: loaded.queue.depth,
            predicted_wait=loaded.queue.predicted_wait,
        )

    def _watch(self, model: HostedModel, loaded: Loaded) -> Watch:
        """Return what counts the photos of a model; a baseline of other weights is left aside."""
        name, baseline = model.manifest.name, model.baseline
        if baseline is not None and not baseline.fits(
            loaded.weights_sha256, model.manifest.preprocess
        ):
            if loaded.trained:
                log.warning(
                    "%s: its baseline is of other weights or preprocessing; make it again: evaluate --baseline",
                    name,
                )
            baseline = None
        elif baseline is not None:
            baseline = baseline.at(model.manifest.temperature)
            if not baseline.properties:
                log.warning(
                    "%s: no drift: its baseline is of temperature %g, not %g; make it again: evaluate --baseline",
                    name,
                    baseline.temperature,
                    model.manifest.temperature,
                )
        return Watch(name, trained=loaded.trained, baseline=baseline)

    def _show_gpus(self, loaded: Loaded) -> None:
        """Show the GPUs in the metrics, once the first model runs on them."""
        if loaded.device != "cuda" or self._gpus_shown:
            return
        self._gpus_shown = True
        for gpu in self._hosting.gpus:
            read = open_gpu(gpu.device_id)
            if read is not None:
                self._metrics.add_gpu(gpu.device_id, read)

    async def stop(self) -> None:
        """Let the current runs end, then fail every image that still waits."""
        for model in self._models.values():
            if model.loaded is not None:
                await model.loaded.queue.stop()


def _tenths(done: int, total: int | None) -> int:
    return 10 * done // total if total else 0
