"""TorchServe's inference API: /predictions/{model} and /ping."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.records import Label, Prediction
from app.serving.loading import Loaded
from app.web.endpoints import METHODS, Endpoint
from app.web.health import readyz
from app.web.openapi import FIELD, parameters_of, photo_body
from app.web.predict import read_top_k, read_upload
from app.web.protocols.answering import answers_to, check_version

router = APIRouter(tags=["TorchServe"])

_FIELDS: Final = ("data", "body", FIELD)
"""Names of the part with the photo; the first two are those of TorchServe's own handlers."""
_SUMMARY: Final = "Classify a photo, for clients of TorchServe"
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": {"type": "number"}},
                "example": {"tabby, tabby cat": 0.4251449, "tiger cat": 0.1812},
            }
        }
    }
}


_METHODS: Final = ["POST", "PUT"]


def _described(endpoint: Endpoint) -> dict[str, Any]:
    extra = {"requestBody": photo_body(_FIELDS[0]), "parameters": parameters_of(endpoint)}
    return {"summary": _SUMMARY, "responses": _RESPONSES, "openapi_extra": extra}


@router.post(Endpoint.TORCHSERVE.path, **_described(Endpoint.TORCHSERVE))
@router.put(Endpoint.TORCHSERVE.path, **_described(Endpoint.TORCHSERVE))
@router.api_route(Endpoint.TORCHSERVE.path, methods=_METHODS, include_in_schema=False)
async def classify(
    model: str,  # noqa: ARG001 (app.web.middleware.admission has found it)
    request: Request,
    top_k: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Return the five most probable classes: an object of labels with their probabilities.

    The body is the photo, or a form with a part `data`. A label that several classes have is
    followed by the WordNet id of its class, or else by its index.
    """
    loaded: Loaded = request.state.loaded
    best = read_top_k(request, top_k)
    photo = await read_upload(request, _FIELDS)
    [answer] = await answers_to(request, [photo], best)
    return JSONResponse(by_label(answer.predictions, loaded.labels))


@router.post(Endpoint.TORCHSERVE_VERSION.path, **_described(Endpoint.TORCHSERVE_VERSION))
@router.put(Endpoint.TORCHSERVE_VERSION.path, **_described(Endpoint.TORCHSERVE_VERSION))
@router.api_route(Endpoint.TORCHSERVE_VERSION.path, methods=_METHODS, include_in_schema=False)
async def classify_by_version(
    model: str,
    version: str,
    request: Request,
    top_k: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Do the same; each model has one version, 1."""
    check_version(version)
    return await classify(model, request, top_k)


@router.get(
    Endpoint.PING.path,
    summary="Can it answer? For clients of TorchServe",
    responses={503: {"description": "No, and the reason"}},
)
@router.api_route(Endpoint.PING.path, methods=METHODS, include_in_schema=False)
async def ping(request: Request) -> Response:
    """Return what /readyz says, in TorchServe's words."""
    answer = await readyz(request)
    return JSONResponse({"status": "Healthy"}) if answer.status_code == 200 else answer  # noqa: PLR2004 (HTTP's own)


def by_label(predictions: Sequence[Prediction], labels: Sequence[Label]) -> dict[str, float]:
    """Return probabilities by label; labels that several classes share are told apart."""
    times = Counter(label.text for label in labels)
    return {
        one.label if times[one.label] == 1 else f"{one.label} ({one.wnid or one.class_index})":
            one.probability
        for one in predictions
    }  # fmt: skip
