"""POST /v2/models/{model}/infer: photos or pixels in, probabilities or classes out."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.serving.classifier import Classification
from app.serving.hosted_models import HostedModel
from app.serving.metrics import NO_MODEL
from app.web.endpoints import Endpoint
from app.web.predict import headers_of
from app.web.protocols.answering import answers_to
from app.web.protocols.oip.answer import write_answer
from app.web.protocols.oip.describe import parameters_of
from app.web.protocols.oip.encoding import compress, decompress
from app.web.protocols.oip.request import (
    HEAD_LENGTH,
    INPUT,
    OUTPUT,
    InferRequest,
    read_parts,
    read_request,
)
from app.web.protocols.oip.routes import TAG, Hosted, hosted

router = APIRouter(tags=[TAG])

_BINARY: Final = "application/octet-stream"
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"const": INPUT},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": ["BYTES", "UINT8"]},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "parameters": {"type": "object"},
                    "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                    "outputs": {"type": "array", "items": {"type": "object"}},
                },
            }
        },
        _BINARY: {"schema": {"type": "string", "format": "binary"}},
    },
}
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {
                "example": {
                    "model_name": "vgg16",
                    "model_version": "1",
                    "outputs": [
                        {
                            "name": OUTPUT,
                            "datatype": "BYTES",
                            "shape": [1, 1],
                            "data": ["0.4251449:281:tabby, tabby cat"],
                        }
                    ],
                }
            },
            _BINARY: {"schema": {"type": "string", "format": "binary"}},
        }
    },
    404: {"description": "Unknown model or version"},
}


@router.post(
    Endpoint.OIP_INFER.path,
    summary="Classify photos or pixels",
    responses=_ANSWER,
    openapi_extra={"requestBody": _BODY},
)
@router.api_route(Endpoint.OIP_VERSION_INFER.path, methods=["POST"], include_in_schema=False)
async def infer(request: Request, model: Hosted) -> Response:
    """Return the probabilities of every class, or the most probable classes, of each image.

    The input `image` is either of datatype BYTES and shape [N]: N image files, in JSON as base64; or of
    datatype UINT8 and the shape in the model's metadata: pixels. One image that cannot be classified
    fails the request; the error names its index.
    """
    state = request.state
    body = await _read_body(request)
    translate = request.scope["state"].get("translate")
    if translate is not None:  # the message of another transport, which names its model itself
        state.model = NO_MODEL  # it was admitted for any
        name, version, head, tensor = translate(body)
        model = hosted(request, name, version)
        state.model = name
        state.loaded = model.ready()
        asked = read_parts(head, tensor, _crop(model))
    else:  # app.web.middleware.admission has admitted it for the model in the path
        asked = read_request(body, request.headers.get(HEAD_LENGTH), _crop(model))
    if asked.timeout is not None:
        state.deadline = min(state.deadline, state.arrived + asked.timeout)
    best = min(asked.classes, len(model.labels)) or 1
    place = "inputs[0].data" if len(asked.images) > 1 else ""
    results = await answers_to(request, asked.images, best, name=place)
    return _answer(request, asked, results)


def _crop(model: HostedModel) -> int:
    return model.manifest.preprocess.crop


async def _read_body(request: Request) -> bytes:
    """Return the body, decompressed if need be, and counted as what it is then."""
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() == "identity":
        return body
    most: int = request.app.state.max_body_bytes
    body = await asyncio.to_thread(decompress, body, encoding, most)
    request.state.hold(len(body))
    return body


def _answer(request: Request, asked: InferRequest, results: Sequence[Classification]) -> Response:
    rows = [one.probabilities for one in results]
    best = [one.predictions for one in results]
    body, length = write_answer(
        asked, request.state.model, parameters_of(request.state.loaded), rows, best
    )
    sent, encoding = compress(body, request.headers.get("accept-encoding", ""))
    stages: dict[str, float] = {}
    for one in results:
        stages |= {stage: max(s, stages.get(stage, 0.0)) for stage, s in one.seconds.items()}
    headers = headers_of(request, stages, max(one.batch_size for one in results))
    headers["Vary"] = "Accept-Encoding"
    if encoding:
        headers["Content-Encoding"] = encoding
    if length is not None:
        headers[HEAD_LENGTH] = str(length)
    kind = "application/json" if length is None else _BINARY
    return Response(sent, headers=headers, media_type=kind)
