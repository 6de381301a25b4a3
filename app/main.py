"""The composition root: builds every part, joins them, starts and stops them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app import __version__
from app.api.envelope import Envelope
from app.api.health import router as health
from app.api.limits import Limits
from app.api.openapi import install_openapi
from app.api.page import mount_files
from app.api.page import router as page
from app.api.problems import install_problem_handlers
from app.api.routes import router as routes
from app.catalog import Manifest, load_catalog
from app.config import Settings
from app.cpus import usable_cpus
from app.decoding import DecodePool
from app.errors import SetupError
from app.hosting import Models
from app.imaging import ImageLimits, Prepare, prepare
from app.loading import Hosting
from app.metrics import Metrics
from app.session import Session
from app.weights import Provisioning

log = logging.getLogger(__name__)

_KEEP_ALIVE: int = 75
"""Seconds; longer than the 60 of common load balancers, so that they close first."""


def create_app(settings: Settings, open_session: Callable[..., Session] = Session) -> FastAPI:
    """Build the service; its models begin to load when it is started.

    Args:
        settings: All of them.
        open_session: Loads a serving graph; tests give another one.

    Raises:
        SetupError: If a manifest is wrong, or a model has none.
    """
    metrics = Metrics()
    decoders = DecodePool(settings.decode_threads or usable_cpus())
    hosting = replace(_hosting(settings), open_session=open_session)
    models = Models(chosen(settings), hosting, decoders, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(models.load(), name="loading")
        app.state.loading = loading
        yield
        loading.cancel()
        await models.stop()
        decoders.stop()

    app = FastAPI(
        title="vgg-serve",
        version=__version__,
        summary="The five most probable ImageNet classes of a photo, from VGG-16 and VGG-19.",
        lifespan=lifespan,
        docs_url=None,
        redirect_slashes=False,  # would answer with the Host that the client sent
        redoc_url=None,
    )
    app.state.models = models
    app.state.metrics = metrics
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.deadline = settings.deadline_ms / 1000
    app.state.draining = asyncio.Event()
    for router in (routes, health, page):
        app.include_router(router)
    mount_files(app)
    install_problem_handlers(app)
    install_openapi(app)
    app.add_middleware(
        Limits,
        models=models,
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
    )
    app.add_middleware(Envelope, metrics=metrics)  # added last, so it is the outermost
    return app


def chosen(settings: Settings) -> list[Manifest]:
    """Return the manifests of the models to serve.

    Raises:
        SetupError: If one has none, or any manifest is wrong.
    """
    catalog = load_catalog(settings.model_dir)
    for name in settings.models:
        if name not in catalog:
            known = ", ".join(sorted(catalog))
            raise SetupError(f"VGG_MODELS: there is no model {name!r}; there are {known}")
    return [catalog[name] for name in dict.fromkeys(settings.models)]


def provisioning(settings: Settings) -> Provisioning:
    """Return where weights come from."""
    return Provisioning(
        model_dir=settings.model_dir,
        on_missing=settings.on_missing_weights,
        offline=settings.offline,
        endpoint=settings.hf_endpoint,
    )


def preparation(settings: Settings) -> Prepare:
    """Return what makes pixels of an upload."""
    limits = ImageLimits(max_pixels=settings.max_pixels)
    return partial(prepare, limits=limits, exact=settings.decode == "exact")


def _hosting(settings: Settings) -> Hosting:
    return Hosting(
        provisioning=provisioning(settings),
        device=settings.device,
        threads=settings.threads or usable_cpus(),
        max_batch_size=settings.max_batch_size or None,
        max_queue_delay=settings.max_queue_delay_ms / 1000,
        queue_budget=settings.queue_budget_ms / 1000,
        prepare=preparation(settings),
    )


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM first says that it is not ready and goes on for a while."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_delay: float) -> None:
        """Take the app's state along.

        Args:
            config: uvicorn's.
            app: Whose state says that it drains.
            drain_delay: Seconds between the signal and the close of the port.
        """
        super().__init__(config)
        self._app = app
        self._drain_delay = drain_delay
        self._impatient = False
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        draining: asyncio.Event = self._app.state.draining
        if draining.is_set() or self._event_loop is None:
            self._impatient = True
            super().handle_exit(sig, frame)
            return
        draining.set()
        log.info("draining for %.1f s", self._drain_delay)
        # A signal may interrupt the loop anywhere, so it must not touch its timers itself.
        self._event_loop.call_soon_threadsafe(
            self._event_loop.call_later, self._drain_delay, self._close, sig, frame
        )

    def _close(self, sig: int, frame: FrameType | None) -> None:
        if not self._impatient:  # else a second signal has done it, and a third would not drain
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind, say where, and watch the models load."""
        await super().startup(sockets)
        self._event_loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                host, port = listener.getsockname()[:2]
                host = f"[{host}]" if ":" in host else host
                log.info("http://%s:%d answers; its models are loading", host, port)
        self._app.state.loading.add_done_callback(lambda _: self._stop_if_failed())

    def _stop_if_failed(self) -> None:
        """Stop a server that cannot do what it was started for."""
        models: Models = self._app.state.models
        if any(model.state == "failed" for model in models.all().values()):
            self.should_exit = True


def serve(settings: Settings) -> int:
    """Serve until a signal comes; return the exit status.

    Raises:
        SetupError: If the service cannot be built.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_ms / 1000)),
    )
    server = Server(config, app, settings.drain_delay_ms / 1000)
    server.run()
    models: Models = app.state.models
    failed = any(model.state == "failed" for model in models.all().values())
    return 1 if failed or not server.started else 0
