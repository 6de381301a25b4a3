"""POST /predict: reads the photo, gets it classified, answers in JSON or as a page.

The bytes of a photo are never written to disk.
"""

import asyncio
import re
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.graph.vgg import CLASSES
from app.serving.classifier import Classification, Classifier
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.web.endpoints import Endpoint
from app.web.forms import find_file, refuse_hidden_form
from app.web.middleware.envelope import CLIENT_LEFT
from app.web.openapi import FIELD, PREDICT_BODY, PREDICT_PARAMETERS, PREDICT_RESPONSES
from app.web.page.plain_answer import answer_page
from app.web.schemas import ModelRef, PredictOut

router = APIRouter()

_MAX_PART_HEADER: Final = 512
_BOUNDARY: Final = re.compile(
    r'multipart/form-data; ?boundary=(?:"([\w-]{1,70})"|([\w-]{1,70}))', re.ASCII
)
_PART_HEADER: Final = re.compile(
    rb'Content-Disposition: form-data; name="(\w+)"; filename="[^"\\\r\n]*"'
    rb"(?:\r\nContent-Type: [\w/+.-]+)?",
    re.IGNORECASE,
)


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
    `X-Request-Timeout-Ms` shortens the time from the end of the upload to the answer.
    """
    loaded: Loaded = request.state.loaded  # chosen and admitted by app.web.middleware.admission
    metrics: Metrics = request.app.state.metrics
    try:
        data = await _read_upload(request)
    except ClientDisconnect:
        metrics.cancelled("upload")
        return Response(status_code=CLIENT_LEFT)
    classifier: Classifier = request.app.state.classifier
    work = classifier.classify(loaded, data, top_k, request.state.deadline)
    result = await _unless_client_leaves(request, work)
    if result is None:
        return Response(status_code=CLIENT_LEFT)
    model = ModelRef(
        name=request.state.model,
        weights_sha256=loaded.weights_sha256,
        trained=loaded.trained,
        stands_in_for=request.state.stands_in_for,
    )
    body = PredictOut(
        model=model,
        predictions=list(result.predictions),  # type: ignore[arg-type] # read by attribute
        image=result.image,  # type: ignore[arg-type] # read by attribute
    )
    request.state.fields = {
        "model": model.name,
        "bytes": len(data),
        **body.image.model_dump(),
        "batch_size": result.batch_size,
    }
    stages = {**result.seconds, "total": time.monotonic() - request.state.began}
    headers = {
        "Server-Timing": ", ".join(f"{name};dur={1000 * s:.2f}" for name, s in stages.items()),
        "X-Batch-Size": str(result.batch_size),
    }
    if request.state.html:
        return answer_page(body, headers)
    return Response(body.model_dump_json(), media_type="application/json", headers=headers)


async def _read_upload(request: Request) -> bytes:
    """Return the only file of a multipart body, or the raw body."""
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    file = only_file(content_type, body)
    if file:
        return file
    media_type = content_type.lower()
    if media_type.startswith("multipart/"):
        return find_file(content_type, body)
    if body.startswith(b"--") or "urlencoded" in media_type:
        refuse_hidden_form(body)
    return body


def only_file(content_type: str, body: bytes) -> bytes | None:
    """Return the file of a plain form: one part named FIELD with the usual headers.

    Nearly every client sends such a form. Finding its file takes 2 us and one search for the
    boundary, where `app.web.forms` takes 10 us (`python -m tests.measure_forms`). Returns None for
    every other body, a malformed form too: that module reads those.
    """
    match = _BOUNDARY.fullmatch(content_type)
    if match is None:
        return None
    delimiter = b"--" + (match[1] or match[2]).encode("ascii")
    start = len(delimiter) + 2
    header_end = body.find(b"\r\n\r\n", start, start + _MAX_PART_HEADER)
    data_end = body.find(b"\r\n" + delimiter, header_end + 2)
    if header_end < 0 or data_end < header_end + 4 or not body.startswith(delimiter + b"\r\n"):
        return None
    header = _PART_HEADER.fullmatch(body, start, header_end)
    rest = body[data_end + 2 + len(delimiter) :]
    if header is None or header[1] != FIELD.encode() or rest not in {b"--", b"--\r\n"}:
        return None
    return body[header_end + 4 : data_end]


async def _unless_client_leaves(
    request: Request, work: Coroutine[Any, Any, Classification]
) -> Classification | None:
    """Return what the work returns; cancel it and return None as soon as the client leaves.

    uvicorn does not cancel the handler of a request whose client has left. The body has been read.
    """
    task = asyncio.create_task(work)
    left = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None
    finally:
        task.cancel()
        left.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
