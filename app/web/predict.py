"""POST /predict, GET /models and GET /models/{name}."""

import asyncio
import re
import time
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.errors import BadRequestError, SlowUploadError
from app.graph.vgg import CLASSES
from app.serving.classifier import Classification
from app.serving.hosted_models import Models
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.web.middleware.envelope import CLIENT_LEFT
from app.web.openapi_examples import PREDICT_BODY, PREDICT_PARAMETERS, PREDICT_RESPONSES
from app.web.page.plain_answer import answer_page, wants_html
from app.web.schemas import ModelRef, PredictOut
from app.web.uploads import ClientLeftError, read_upload, unless_client_leaves
from app.weights.manifests import Manifest

router = APIRouter()

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_MILLISECONDS: Final = re.compile("0{0,8}[1-9][0-9]{0,8}")


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
