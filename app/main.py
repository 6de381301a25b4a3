"""The composition root: builds every part and joins them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from fastapi import FastAPI

from app import __version__
from app.api.access import Access
from app.api.cors import Origins
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
from app.conv_choice import PlanChooser
from app.conv_plan import plans
from app.conv_trial import try_plan
from app.cpus import usable_cpus
from app.cuda import Gpu
from app.decoding import DecodePool
from app.devices import DeviceName, find_device
from app.errors import SetupError
from app.fronts.mirror import Link, Mirror
from app.hosting import Models
from app.image_limits import ImageLimits
from app.imaging import Prepare
from app.imaging import prepare as prepare_image
from app.isolation import Isolated
from app.keys import Keys
from app.loading import CEILING, Hosting
from app.metrics import Metrics
from app.provisioning import SERVING, Provisioning, for_device
from app.quotas import Quotas
from app.runtime import channel_block
from app.session import Session


def create_app(
    settings: Settings,
    open_session: Callable[..., Session] = Session,
    link: Link | None = None,
) -> FastAPI:
    """Build the service; its models begin to load when it is started.

    Args:
        settings: All of them.
        open_session: Loads a serving graph; tests give another one.
        link: To the owner of the models, in a front process; None where they are in this one.

    Raises:
        SetupError: If a manifest or the file of keys is wrong, or a model has no manifest.
    """
    metrics = Metrics()
    keys = Keys(settings.api_keys_file) if settings.api_keys_file else None
    decoders = DecodePool(settings.decode_threads or usable_cpus())
    prepare = preparation(settings)
    isolated = Isolated(prepare) if settings.decode_isolation == "process" else None
    hosting = replace(hosting_of(settings), open_session=open_session, prepare=isolated or prepare)
    models = Models(chosen(settings), hosting, decoders, metrics)
    mirror = Mirror(link, models, hosting, decoders, metrics) if link is not None else None
    bring = mirror.follow if mirror else models.load
    make_quotas = mirror.make_quotas if mirror else Quotas
    rate = settings.rate_limit
    quotas = make_quotas(rate, settings.rate_burst, time.monotonic) if rate else None

    async def scrape() -> bytes:
        return await mirror.scrape() if mirror else metrics.render()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(bring(), name="loading")
        app.state.loading = loading
        yield
        loading.cancel()
        await models.stop()
        decoders.stop()
        if isolated is not None:
            isolated.stop()

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
    app.state.keys = keys
    app.state.metrics = metrics
    app.state.scrape = scrape
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.deadline = settings.deadline_ms / 1000
    app.state.draining = asyncio.Event()
    for router in (routes, health, page):
        app.include_router(router)
    mount_files(app)
    install_problem_handlers(app)
    install_openapi(app, with_keys=keys is not None)
    app.add_middleware(
        Limits,
        models=models,
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
    )
    if keys is not None or quotas is not None:
        app.add_middleware(Access, keys=keys, quotas=quotas)
    if settings.allowed_origins:
        app.add_middleware(Origins, origins=settings.allowed_origins)
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


def provisioning(settings: Settings, device: DeviceName | None = None) -> Provisioning:
    """Return where weights come from, for one who will use them here without a server.

    Where `cuda` is set it is believed: `pull` may fill a folder for another machine.

    Args:
        settings: All of them.
        device: In place of the one that is set.
    """
    wanted = device or settings.device
    place = find_device("auto", gpus(settings)[0]) if wanted == "auto" else wanted
    return for_device(_sources(settings), place, settings.precision)


def _sources(settings: Settings) -> Provisioning:
    tried = plans(channel_block())
    return Provisioning(
        model_dir=settings.model_dir,
        on_missing=settings.on_missing_weights,
        offline=settings.offline,
        endpoint=settings.hf_endpoint,
        or_float32=settings.precision == "auto",
        plan_for=PlanChooser(
            settings.conv,
            settings.model_dir / SERVING,
            settings.threads or usable_cpus(),
            settings.max_batch_size or CEILING["cpu"],
            tried,
            try_plan,
        ),
        plans=tried,
    )


def gpus(settings: Settings) -> tuple[Gpu, ...]:
    """Return the GPUs to use, should CUDA be used."""
    limit = settings.gpu_memory_limit_mb * 10**6
    return tuple(Gpu(number, limit, settings.tensorrt) for number in settings.device_ids)


def preparation(settings: Settings) -> Prepare:
    """Return what makes pixels of an upload."""
    limits = ImageLimits(max_pixels=settings.max_pixels)
    return partial(prepare_image, limits=limits, exact=settings.decode == "exact")


def hosting_of(settings: Settings) -> Hosting:
    """Return how models are hosted."""
    return Hosting(
        provisioning=_sources(settings),
        device=settings.device,
        threads=settings.threads or usable_cpus(),
        max_batch_size=settings.max_batch_size or None,
        max_queue_delay=settings.max_queue_delay_ms / 1000,
        queue_budget=settings.queue_budget_ms / 1000,
        prepare=preparation(settings),
        precision=settings.precision,
        gpus=gpus(settings),
    )
