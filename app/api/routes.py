"""POST /predict, GET /models and GET /models/{name}."""

import asyncio
import re
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.api.envelope import CLIENT_LEFT
from app.api.examples import PREDICT_BODY, PREDICT_PARAMETERS, PREDICT_RESPONSES
from app.api.html_answer import answer_page, wants_html
from app.api.schemas import (
    AccuracyOut,
    BatchingOut,
    LayerOut,
    ModelOut,
    ModelRef,
    ModelsOut,
    ModelSummary,
    PredictOut,
    PreprocessOut,
)
from app.api.uploads import ClientLeftError, read_upload, unless_client_leaves
from app.catalog import Manifest
from app.classifier import Classification
from app.errors import BadRequestError, SlowUploadError
from app.hosting import HostedModel, Models
from app.loading import Loaded
from app.metrics import Metrics
from app.vgg import CLASSES, VggConfig, architecture

router = APIRouter()

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_MILLISECONDS: Final = re.compile("0{0,8}[1-9][0-9]{0,8}")


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


ModelsDep = Annotated[Models, Depends(_models)]


@router.post(
    "/predict",
    summary="Classify one photo",
    response_model=PredictOut,
    responses=PREDICT_RESPONSES,
    openapi_extra={"requestBody": PREDICT_BODY, "parameters": PREDICT_PARAMETERS},
)
async def predict(
    request: Request,
    model: Annotated[str | None, Query(description="Name of a model; see GET /models.")] = None,
    top_k: Annotated[int, Query(ge=1, le=CLASSES, description="How many classes to return.")] = 5,
) -> Response:
    """Return the most probable of ImageNet's 1000 classes, the best first.

    Post the image file itself, or a form with one file part named `file`. The header
    `X-Request-Timeout-Ms` shortens the time after which the answer is of no use any more.
    """
    models: Models = request.app.state.models  # a dependency would cost more than all of this
    hosted = models.get(model or models.default)
    loaded = hosted.ready()
    deadline = request.state.began + _timeout(request, request.app.state.deadline)
    metrics: Metrics = request.app.state.metrics
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            data = await read_upload(request)
    except TimeoutError as exc:
        raise SlowUploadError("The body did not arrive before the deadline.") from exc
    except ClientDisconnect:
        metrics.cancelled("upload")
        return Response(status_code=CLIENT_LEFT)
    work = loaded.classifier.classify(data, top_k, deadline)
    try:
        result = await unless_client_leaves(request, work)
    except ClientLeftError:
        return Response(status_code=CLIENT_LEFT)
    request.state.fields = {
        "model": hosted.manifest.name,
        "bytes": len(data),
        "format": result.image.format,
        "width": result.image.width,
        "height": result.image.height,
        "batch_size": result.batch_size,
    }
    body = PredictOut(
        model=_ref(hosted.manifest, loaded),
        predictions=list(result.predictions),  # type: ignore[arg-type] # read by attribute
        image=result.image,  # type: ignore[arg-type] # read by attribute
    )
    if wants_html(request.scope):
        return answer_page(body, _headers(request, result))
    return Response(
        body.model_dump_json(), media_type="application/json", headers=_headers(request, result)
    )


@router.get("/models", summary="List the models")
async def list_models(models: ModelsDep) -> ModelsOut:
    """Return every model that this server has, the default first."""
    return ModelsOut(models=[_summary(model, models) for model in models.all().values()])


@router.get(
    "/models/{name}",
    summary="Describe a model, layer by layer",
    responses={404: {"description": "There is no such model here"}},
)
async def show_model(name: str, models: ModelsDep) -> ModelOut:
    """Return what a model is, where it runs and what each of its layers costs."""
    model = models.get(name)
    manifest, loaded = model.manifest, model.loaded
    config = architecture(manifest.architecture) if manifest.architecture else None
    measured = manifest.accuracy is not None and not (loaded and not loaded.trained)
    return ModelOut(
        **_summary(model, models).model_dump(),
        license=manifest.license,
        weights_sha256=loaded.weights_sha256 if loaded else None,
        device=loaded.device if loaded else None,
        precision=loaded.precision if loaded else None,
        convolutions=loaded.convolutions if loaded else None,
        devices=loaded.devices if loaded else None,
        progress=None if loaded else model.describe_progress(),
        preprocess=PreprocessOut.model_validate(manifest.preprocess),
        accuracy=AccuracyOut.model_validate(manifest.accuracy) if measured else None,
        batching=_batching(loaded) if loaded else None,
        **_architecture(config),
    )


def _timeout(request: Request, longest: float) -> float:
    """Return the seconds that the request may take: the client may only shorten them."""
    asked = request.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return longest
    if not _MILLISECONDS.fullmatch(asked.strip()):
        raise BadRequestError(f"{TIMEOUT_HEADER} is no whole number of milliseconds above 0.")
    return min(longest, int(asked) / 1000)


def _headers(request: Request, result: Classification) -> dict[str, str]:
    timings = result.timings
    stages = {
        "decode": timings.decode,
        "queue": timings.queue,
        "run": timings.run,
        "rank": timings.rank,
        "total": time.monotonic() - request.state.began,
    }
    return {
        "Server-Timing": ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in stages.items()),
        "X-Batch-Size": str(result.batch_size),
    }


def _ref(manifest: Manifest, loaded: Loaded) -> ModelRef:
    return ModelRef(
        name=manifest.name, weights_sha256=loaded.weights_sha256, trained=loaded.trained
    )


def _summary(model: HostedModel, models: Models) -> ModelSummary:
    manifest, loaded = model.manifest, model.loaded
    return ModelSummary(
        name=manifest.name,
        title=manifest.title,
        default=manifest.name == models.default,
        state=model.state,
        trained=loaded.trained if loaded else (None if manifest.trained else False),
    )


def _batching(loaded: Loaded) -> BatchingOut:
    cost = loaded.cost
    return BatchingOut(
        sizes=[size for size, _ in cost.measured],
        seconds=dict(cost.measured),
        seconds_per_image=cost.per_image,
        seconds_per_run=cost.per_run,
    )


def _architecture(config: VggConfig | None) -> dict[str, Any]:
    if config is None:
        return {"configuration": None, "parameters": None, "multiply_adds": None, "layers": []}
    return {
        "configuration": config.configuration,
        "parameters": config.parameters(),
        "multiply_adds": config.multiply_adds(),
        "layers": [LayerOut.model_validate(row) for row in config.layers()],
    }
