"""The REST API of TensorFlow Serving, which is KServe's V1 too: /v1/models/{model}:predict."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.errors import BadRequestError
from app.serving.classifier import USUAL
from app.serving.hosted_models import HostedModel, Models
from app.serving.loading import Loaded
from app.serving.many import MOST_IMAGES, check_number
from app.web.endpoints import METHODS, Endpoint
from app.web.openapi import parameters_of
from app.web.protocols.answering import VERSIONS, answers_to, check_version
from app.web.protocols.json_body import JsonBody

router = APIRouter(tags=["TensorFlow Serving and KServe V1"])

_STATES: Final = {"ready": "AVAILABLE", "waiting": "START", "loading": "LOADING", "failed": "END"}
_READY: Final = "Is a model ready? For clients of TensorFlow Serving and KServe"
_OR_404: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "Unknown model"}}
_BYTES: Final = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "additionalProperties": False,
}
_INSTANCES: Final = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_IMAGES,
    "description": "One photo each.",
    "items": {
        "anyOf": [
            _BYTES,
            {
                "type": "object",
                "required": ["image_bytes"],
                "properties": {"image_bytes": _BYTES},
                "additionalProperties": False,
            },
            {"type": "string", "format": "byte"},
        ]
    },
}
_NUMBERS: Final = {"type": "array", "items": {"type": "number"}}
_PAIRS: Final = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
}


def _body(*names: str) -> dict[str, Any]:
    members = dict.fromkeys(names, _INSTANCES) | {"signature_name": {"type": "string"}}
    schema = {"type": "object", "required": [names[0]], "properties": members}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answer(name: str, items: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    schema = {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "array", "items": items}},
    }
    return {200: {"content": {"application/json": {"schema": schema}}}}


def _predicting(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "summary": "Return all probabilities of photos, for clients of TensorFlow Serving",
        "responses": _answer("predictions", _NUMBERS),
        "openapi_extra": {
            "requestBody": _body("instances"),
            "parameters": parameters_of(endpoint),
        },
    }


def _classifying(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "summary": "Classify photos, for clients of TensorFlow Serving",
        "responses": _answer("result", _PAIRS),
        "openapi_extra": {
            "requestBody": _body("examples", "instances"),
            "parameters": parameters_of(endpoint),
        },
    }


@router.post(Endpoint.V1_PREDICT.path, **_predicting(Endpoint.V1_PREDICT))
async def predict(model: str, request: Request) -> Response:  # noqa: ARG001 (admission has found it)
    """Return for each photo the probability of every class, in the order of class_index.

    A photo that cannot be classified fails the request; the error says which one it is.
    """
    name, photos = _photos(await request.body(), ("instances",))
    answers = await answers_to(request, photos, 1, name=name)
    return JSONResponse({"predictions": [one.probabilities.tolist() for one in answers]})


@router.post(Endpoint.V1_VERSION_PREDICT.path, **_predicting(Endpoint.V1_VERSION_PREDICT))
async def predict_by_version(model: str, version: str, request: Request) -> Response:
    """Do the same; each model has one version, 1."""
    check_version(version)
    return await predict(model, request)


@router.post(Endpoint.V1_CLASSIFY.path, **_classifying(Endpoint.V1_CLASSIFY))
async def classify(model: str, request: Request) -> Response:  # noqa: ARG001 (admission has found it)
    """Return for each photo its five most probable classes as pairs of label and probability."""
    loaded: Loaded = request.state.loaded
    name, photos = _photos(await request.body(), ("examples", "instances"))
    answers = await answers_to(request, photos, min(USUAL, len(loaded.labels)), name=name)
    rows = [[[one.label, one.probability] for one in answer.predictions] for answer in answers]
    return JSONResponse({"result": rows})


@router.post(Endpoint.V1_VERSION_CLASSIFY.path, **_classifying(Endpoint.V1_VERSION_CLASSIFY))
async def classify_by_version(model: str, version: str, request: Request) -> Response:
    """Do the same; each model has one version, 1."""
    check_version(version)
    return await classify(model, request)


@router.get(Endpoint.V1_MODELS.path, summary="List the models, for clients of KServe")
@router.api_route(Endpoint.V1_MODELS.path, methods=METHODS, include_in_schema=False)
async def list_models(request: Request) -> dict[str, list[str]]:
    """Return the names of all models."""
    models: Models = request.app.state.models
    return {"models": [*models.all()]}


@router.get(Endpoint.V1_MODEL.path, summary=_READY, responses=_OR_404)
@router.api_route(Endpoint.V1_MODEL.path, methods=METHODS, include_in_schema=False)
async def show_model(model: str, request: Request) -> dict[str, Any]:
    """Return the state of the only version of a model: START, LOADING, AVAILABLE or END."""
    models: Models = request.app.state.models
    hosted: HostedModel = models.get(model)
    failed = hosted.state == "failed"
    status = {
        "error_code": "UNAVAILABLE" if failed else "OK",
        "error_message": "It failed to load; the log says why." if failed else "",
    }
    version = {"version": VERSIONS[0], "state": _STATES[hosted.state], "status": status}
    return {"name": model, "ready": hosted.answers(), "model_version_status": [version]}


@router.get(Endpoint.V1_VERSION.path, summary=_READY, responses=_OR_404)
@router.api_route(Endpoint.V1_VERSION.path, methods=METHODS, include_in_schema=False)
async def show_version(model: str, version: str, request: Request) -> dict[str, Any]:
    """Return the same."""
    check_version(version)
    return await show_model(model, request)


def _photos(body: bytes, names: tuple[str, ...]) -> tuple[str, list[bytes]]:
    """Return which of these names the list of a JSON body has, and the photos in it."""
    read = JsonBody(body)
    name = next((one for one in names if one in read.members), names[0])
    instances = read.members.get(name)
    if not isinstance(instances, list) or not instances:
        raise BadRequestError(
            f'The JSON needs "{name}", a list of photos in base64: [{{"b64": "..."}}].'
        )
    check_number(len(instances))
    return name, [
        read.photo(_base64_of(one), f"{name}[{number}]") for number, one in enumerate(instances)
    ]


def _base64_of(instance: object) -> object:
    """Return the text of a photo: `"..."`, `{"b64": "..."}` or `{"image_bytes": {"b64": "..."}}`.

    The inner member has the name that the input of a model had, and others may be beside it: `key`.
    """
    if not isinstance(instance, dict):
        return instance
    if "b64" in instance:
        return instance["b64"]
    inner = [one["b64"] for one in instance.values() if isinstance(one, dict) and "b64" in one]
    return inner[0] if len(inner) == 1 else None
