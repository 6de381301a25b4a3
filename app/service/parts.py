"""Parts of the service that are built from the settings alone."""

from collections.abc import Callable
from functools import partial

from app.graph.conv_plan import plans
from app.images.header_limits import ImageLimits
from app.images.prepare import Prepare, ignore_warnings
from app.images.prepare import prepare as prepare_image
from app.machine import sums_bytes, usable_cpus
from app.runtime.conv_choice import PlanChooser
from app.runtime.cuda_options import Gpu
from app.runtime.open_session import DeviceName, Session, find_device
from app.runtime.ort import channel_block, open_probe
from app.service.settings import Settings
from app.serving.ask_classifier import ask_classifier
from app.serving.loading import CEILING, Hosting
from app.setup_errors import SetupError
from app.web.middleware.admission import UploadLimits
from app.web.page.files import STATIC
from app.weights.manifests.catalog import load_catalog
from app.weights.manifests.manifest import Manifest
from app.weights.provisioning import Calibration, Provisioning, for_device, graph_dir


def served_manifests(settings: Settings) -> list[Manifest]:
    """Return the manifests of the models to serve, the default first, the stand-in too.

    Raises:
        SetupError: If a model has no manifest, or any manifest has a mistake.
    """
    catalog = load_catalog(settings.model_dir)
    wanted = dict.fromkeys(settings.models, "VGG_MODELS")
    if settings.stand_in:
        wanted.setdefault(settings.stand_in, "VGG_STAND_IN")
    for name, variable in wanted.items():
        if name not in catalog:
            known = ", ".join(sorted(catalog))
            raise SetupError(f"{variable}: there is no model {name!r}; choose from {known}.")
    return [catalog[name] for name in wanted]


def provisioning(settings: Settings, device: DeviceName | None = None) -> Provisioning:
    """Return where a command without a server gets its weights, for `device` or that of the settings.

    `cuda` is not checked: `pull` may fill a folder for another machine.
    """
    wanted = device or settings.device
    found = find_device("auto", gpus(settings)[0]) if wanted == "auto" else wanted
    return for_device(_sources(settings), found, settings.precision)


def _sources(settings: Settings) -> Provisioning:
    tried = plans(channel_block())
    return Provisioning(
        model_dir=settings.model_dir,
        ask=ask_classifier,
        on_missing=settings.on_missing_weights,
        offline=settings.offline,
        endpoint=settings.hf_endpoint,
        or_float32=settings.precision == "auto",
        plan_for=PlanChooser(
            settings.conv,
            graph_dir(settings.model_dir, settings.cache_dir),
            settings.threads or usable_cpus(),
            settings.max_batch_size or CEILING["cpu"],
            tried,
        ),
        plans=tried,
        cache_dir=settings.cache_dir,
        calibration=Calibration(
            partial(open_probe, threads=settings.threads or usable_cpus()),
            tuple(sorted((STATIC / "samples").glob("*.jpg"))),
            settings.calibration_dir,
            fast=sums_bytes(),
        ),
    )


def gpus(settings: Settings) -> tuple[Gpu, ...]:
    """Return the GPUs to use if models run on CUDA."""
    limit = settings.gpu_memory_limit_mb * 10**6
    return tuple(Gpu(number, limit, settings.tensorrt) for number in settings.device_ids)


def preparation(settings: Settings) -> Prepare:
    """Return the function that turns an upload into pixels."""
    limits = ImageLimits(max_pixels=settings.max_pixels)
    ignore_warnings()
    return partial(prepare_image, limits=limits, exact=settings.decode == "exact")


def upload_limits(settings: Settings) -> UploadLimits:
    """Return what uploads may take."""
    return UploadLimits(
        body_bytes=settings.max_body_bytes,
        all_bytes=settings.all_upload_bytes,
        silence=settings.upload_silence_ms / 1000,
        min_rate=settings.upload_min_rate,
        answer_seconds=settings.deadline_ms / 1000,
    )


def make_hosting(
    settings: Settings,
    open_session: Callable[..., Session],
    decode_backlog: Callable[[int], float] = lambda _: 0.0,
) -> Hosting:
    """Return the options with which models are loaded and run; see Hosting."""
    return Hosting(
        provisioning=_sources(settings),
        device=settings.device,
        threads=settings.threads or usable_cpus(),
        max_batch_size=settings.max_batch_size or None,
        max_queue_delay=settings.max_queue_delay_ms / 1000,
        queue_budget=settings.queue_budget_ms / 1000,
        precision=settings.precision,
        gpus=gpus(settings),
        open_session=open_session,
        decode_backlog=decode_backlog,
    )
