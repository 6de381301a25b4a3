"""The service as a deployment of Ray Serve: `serve run app.service.ray:app`. Needs the extra `ray`.

Each replica builds the composition root, with its own models and batcher; Ray's proxy speaks HTTP, and
Ray starts, checks, scales and ends the replicas. docs/scale.md says what that replaces.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ModelFailedError, NotReadyError
from app.machine import usable_cpus
from app.runtime.open_session import Session, open_session
from app.service.app import create_app
from app.service.key_file import KeyFile, log_count
from app.service.logs import configure_logs
from app.service.settings import Settings
from app.serving.hosted_models import Models
from app.serving.loading import CEILING
from app.setup_errors import SetupError

try:
    from ray import serve
except ModuleNotFoundError as exc:
    raise SetupError(
        f"Ray Serve is not installed. Run: {sys.executable} -m pip install 'ray[serve]'"
    ) from exc

_BATCHES: Final = 4
"""Batches that a replica holds: one runs, one waits for it, and two are uploaded and decoded meanwhile."""
_LOOK: Final = 0.05
"""Seconds between two looks at models that load."""
_SPARE: Final = 5.0
"""Seconds for a replica to stop its models, beyond the time to drain."""


class Scale(BaseModel):
    """How many replicas there are: `serve run app.service.ray:app min_replicas=2 max_replicas=8`."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=10, ge=1)


class Replica:
    """What Ray asks of a replica besides requests; `serve.ingress` adds the rest.

    Attributes:
        app: The service, once `serve.ingress` has built it.
    """

    app: FastAPI

    async def check_health(self) -> None:
        """Have Ray replace this replica once `/healthz` would answer 503, or a GPU is lost.

        Raises:
            ModelFailedError: If so.
        """
        models: Models = self.app.state.models
        if not models.alive or models.lost.is_set():
            raise ModelFailedError("A model has stopped answering.")


def app(scale: Scale) -> Any:  # noqa: ANN401 (Ray's application)
    """Return what `serve run` and `serve deploy` run, from the settings of this process.

    Raises:
        SetupError: If a setting asks for what Ray's proxy does in our place.
    """
    return bind(Settings(), scale, build)


def bind(settings: Settings, scale: Scale, build: Callable[[], FastAPI]) -> Any:  # noqa: ANN401 (the same)
    """Return the application of Ray whose replicas answer with what `build` returns.

    Raises:
        SetupError: If a setting asks for what Ray's proxy does in our place.
    """
    _refuse(settings)
    threads = settings.threads or usable_cpus()
    on_gpus = settings.device == "cuda"
    kind = "int8" if settings.precision == "int8" else "cuda" if on_gpus else "cpu"
    batch = settings.max_batch_size or CEILING[kind]
    drain = (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000
    deployment = serve.deployment(
        serve.ingress(build)(Replica),
        name="vgg-serve",
        ray_actor_options={
            "num_cpus": threads,
            "num_gpus": len(settings.device_ids) if on_gpus else 0,
            "runtime_env": {"env_vars": _environment(settings, threads)},
        },
        max_ongoing_requests=_BATCHES * batch,
        # Those that wait in a proxy, where neither deadline nor prediction sees them.
        max_queued_requests=_BATCHES * batch * max(1, scale.min_replicas),
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": _BATCHES * batch / 2,
        },
        graceful_shutdown_wait_loop_s=settings.drain_delay_ms / 1000,
        graceful_shutdown_timeout_s=drain + _SPARE,
    )
    return deployment.bind()


def build() -> FastAPI:
    """Build the service of a replica, from the settings that `app` has given it."""
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    return replica_app(settings)


def replica_app(settings: Settings, open_session: Callable[..., Session] = open_session) -> FastAPI:
    """Build the service so that it has started once its models are ready: then Ray sends requests.

    Raises:
        SetupError: As `create_app` does.
    """
    service = create_app(settings, open_session)
    start = service.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with start(app):
            await _until_ready(app)
            watching = _watch_keys(app)
            yield
            if watching is not None:
                watching.cancel()

    service.router.lifespan_context = lifespan
    service.add_middleware(_OneRequestId)
    return service


class _OneRequestId:
    """ASGI middleware that leaves X-Request-ID to Ray's proxy: it gives each request one, and adds it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [item for item in message["headers"] if item[0] != b"x-request-id"]
                message = {**message, "headers": kept}
            await send(message)

        await self._app(scope, receive, send_once)


async def _until_ready(app: FastAPI) -> None:
    """Wait until the models answer, or one cannot.

    Raises:
        NotReadyError: If one cannot; the log says why. Ray tries again, elsewhere if it can.
    """
    models: Models = app.state.models
    loading: asyncio.Task[None] = app.state.loading
    while not (models.ready or loading.done()):
        await asyncio.wait({loading}, timeout=_LOOK)
    if loading.done():
        loading.result()
    if not models.ready:
        raise NotReadyError("A model could not be loaded.")


def _watch_keys(app: FastAPI) -> asyncio.Task[None] | None:
    """Read the file of API keys, if there is one, again whenever it changes."""
    if app.state.keys is None:
        return None
    log_count(app.state.keys)
    return asyncio.create_task(KeyFile(app.state.keys).watch(), name="keys")


def _environment(settings: Settings, threads: int) -> dict[str, str]:
    """Return the settings for a replica, which may run on another machine and in another folder."""
    given = {name: value for name, value in os.environ.items() if name.startswith("VGG_")}
    paths = {
        f"VGG_{name.upper()}": str(value.absolute())
        for name, value in settings
        if isinstance(value, Path) and name in settings.model_fields_set
    }
    return given | paths | {"VGG_THREADS": str(threads)}


def _refuse(settings: Settings) -> None:
    """Refuse settings that would do nothing here.

    Raises:
        SetupError: If there is one.
    """
    for name, unset in (("uds", None), ("grpc_port", None), ("front_processes", 0)):
        if getattr(settings, name) != unset:
            raise SetupError(
                f"VGG_{name.upper()} has no effect under Ray, whose proxy speaks HTTP: unset it."
            )
