"""The composition root: builds every part and connects them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import __version__
from app.images.decode_pool import DecodePool
from app.images.process_pool import DecodeProcesses
from app.machine import usable_cpus
from app.runtime.open_session import Session, open_session
from app.service.fronts.front_side import FrontSide, OwnerConnection
from app.service.parts import make_hosting, preparation, served_manifests, upload_limits
from app.service.settings import Settings
from app.serving.classifier import Classifier
from app.serving.hosted_models import Models
from app.serving.inspector import Inspector
from app.serving.metrics import Metrics
from app.serving.paper.tester import PaperTester
from app.setup_errors import SetupError
from app.web.health import router as health
from app.web.inspect import router as inspect
from app.web.keys import Access, Keys
from app.web.middleware.admission import Admission
from app.web.middleware.early_refusals import EarlyRefusals
from app.web.middleware.envelope import Envelope
from app.web.middleware.origins import Origins
from app.web.middleware.prefix import Prefix
from app.web.models import router as model_list
from app.web.openapi import install_openapi
from app.web.page.routes import install_page
from app.web.page.routes import router as page
from app.web.predict import router as predict
from app.web.problems import install_problem_handlers
from app.web.protocols.routers import ROUTERS
from app.web.rate_limit import Quotas


def create_app(
    settings: Settings,
    open_session: Callable[..., Session] = open_session,
    owner: OwnerConnection | None = None,
) -> FastAPI:
    """Build the service, around the models of an owner or around its own.

    Its models load once it is started. Tests pass a fake to load their graphs.

    Raises:
        SetupError: If a manifest or the file of API keys has a mistake, or a model has no manifest.
    """
    metrics = Metrics()
    keys = Keys(None if owner else settings.api_keys_file) if settings.api_keys_file else None
    decoders = DecodePool(settings.decode_threads or usable_cpus())
    prepare = preparation(settings)
    isolated = DecodeProcesses(prepare) if settings.decode_isolation == "process" else None
    classifier = Classifier(decoders, isolated or prepare, metrics)
    hosting = make_hosting(settings, open_session, decoders.backlog)
    models = Models(served_manifests(settings), hosting, metrics, settings.stand_in)
    inspector = Inspector(
        decoders,
        isolated or prepare,
        metrics,
        threads=hosting.threads,
        across_processes=owner is not None,
    )
    rate = settings.rate_limit
    quotas = Quotas(rate, settings.rate_burst, time.monotonic) if rate else None
    front = FrontSide(owner, models, hosting, metrics, keys, quotas) if owner else None
    bring = front.follow if front else models.load

    async def scrape() -> bytes:
        return await front.scrape() if front else metrics.render()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = app.state.loading = asyncio.create_task(bring(), name="loading")
        if front is not None:
            # No request is answered before the API keys have come.
            joined = asyncio.create_task(front.joined.wait())
            await asyncio.wait({loading, joined}, return_when=asyncio.FIRST_COMPLETED)
            if not joined.done():
                joined.cancel()
                raise SetupError("The process with the models has ended.")
        yield
        loading.cancel()
        await models.stop()
        decoders.stop()
        if isolated is not None:
            isolated.stop()

    app = FastAPI(
        title="vgg-serve",
        version=__version__,
        summary="The most probable classes of a photo, from networks of the VGG family.",
        lifespan=lifespan,
        openapi_url=None,  # app.web.openapi has it
        docs_url=None,
        redirect_slashes=False,  # a redirect would repeat the Host header of the client
        redoc_url=None,
        # No variable of a cluster makes FastAPI export requests and errors, or look for exporters on each request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.models = models
    app.state.classifier = classifier
    app.state.inspector = inspector if settings.inspect else None
    app.state.tester = PaperTester(
        classifier,
        decoders,
        isolated or prepare,
        metrics,
        threads=hosting.threads,
        across_processes=owner is not None,
    )
    app.state.keys = keys
    app.state.metrics = metrics
    app.state.quotas = quotas
    app.state.scrape = scrape
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.draining = asyncio.Event()
    for router in (predict, inspect, model_list, *ROUTERS, health, page):
        app.include_router(router)
    install_page(app)
    install_problem_handlers(app)
    install_openapi(app, with_keys=keys is not None)
    admission = Admission(models, metrics, quotas, upload_limits(settings))
    _add_middleware(app, settings, admission, keys, metrics)
    return app


def _add_middleware(
    app: FastAPI, settings: Settings, admission: Admission, keys: Keys | None, metrics: Metrics
) -> None:
    """Add what a request passes, and the short way that refusals take.

    A request passes these from the last to the first: Prefix, proxies' headers (which says of a client what
    a trusted proxy says; Prefix sees the address of the proxy), Envelope, Origins, Access, Admission.
    """
    others = bool(settings.allowed_origins)
    draining = app.state.draining
    app.state.refusals = EarlyRefusals(admission, keys, metrics, draining, other_origins=others)
    app.add_middleware(admission.before)
    if keys is not None:
        app.add_middleware(Access, keys=keys)
    if settings.allowed_origins:
        app.add_middleware(Origins, origins=settings.allowed_origins)
    app.add_middleware(Envelope, metrics=metrics)
    proxies = settings.trusted_proxies
    if proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(proxies))
    if settings.root_path or proxies:
        app.add_middleware(Prefix, root_path=settings.root_path, trusted_proxies=proxies)
