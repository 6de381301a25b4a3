"""POST /predict."""

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.errors import SlowUploadError
from app.graph.vgg import CLASSES
from app.serving.classifier import Classifier
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.web.middleware.envelope import CLIENT_LEFT
from app.web.openapi_examples import PREDICT_BODY, PREDICT_PARAMETERS, PREDICT_RESPONSES
from app.web.page.plain_answer import answer_page, wants_html
from app.web.paths import Endpoint
from app.web.schemas import ModelRef, PredictOut
from app.web.uploads import ClientLeftError, read_upload, unless_client_leaves

router = APIRouter()


@router.post(
    Endpoint.PREDICT.path,
    summary="Classify one photo",
    response_model=PredictOut,
    responses=PREDICT_RESPONSES,
    openapi_extra={"requestBody": PREDICT_BODY, "parameters": PREDICT_PARAMETERS},
)
async def predict(
    request: Request,
    top_k: Annotated[int, Query(ge=1, le=CLASSES, description="How many classes to return.")] = 5,
) -> Response:
    """Return the most probable of ImageNet's 1000 classes, the best first.

    Post the image file itself, or a form with one file part named `file`. The header
    `X-Request-Timeout-Ms` shortens the time that the request may take.
    """
    loaded: Loaded = request.state.loaded  # chosen and admitted by app.web.middleware.admission
    deadline: float = request.state.deadline
    metrics: Metrics = request.app.state.metrics
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            data = await read_upload(request)
    except TimeoutError as exc:
        raise SlowUploadError("The body did not arrive before the deadline.") from exc
    except ClientDisconnect:
        metrics.cancelled("upload")
        return Response(status_code=CLIENT_LEFT)
    classifier: Classifier = request.app.state.classifier
    work = classifier.classify(loaded, data, top_k, deadline)
    try:
        result = await unless_client_leaves(request, work)
    except ClientLeftError:
        return Response(status_code=CLIENT_LEFT)
    model = ModelRef(
        name=request.state.model, weights_sha256=loaded.weights_sha256, trained=loaded.trained
    )
    body = PredictOut(
        model=model,
        predictions=list(result.predictions),  # type: ignore[arg-type] # read by attribute
        image=result.image,  # type: ignore[arg-type] # read by attribute
    )
    request.state.fields = {
        "model": model.name,
        "bytes": len(data),
        "format": result.image.format,
        "width": result.image.width,
        "height": result.image.height,
        "batch_size": result.batch_size,
    }
    stages = asdict(result.timings) | {"total": time.monotonic() - request.state.began}
    headers = {
        "Server-Timing": ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in stages.items()),
        "X-Batch-Size": str(result.batch_size),
    }
    if wants_html(request.scope):
        return answer_page(body, headers)
    return Response(body.model_dump_json(), media_type="application/json", headers=headers)
