"""Hugging Face's inference API: POST /hf/{model} and /hf/{model}/boxes, for clients of the Hub.

Its clients take the address of a model in place of its name: `InferenceClient(model=URL)`. They send
the bytes of a photo or, if they have parameters, JSON with the photo in base64, and want a list.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from app.errors import BadRequestError, UnknownParameterError
from app.serving.classifier import USUAL
from app.serving.explanation import Question
from app.serving.loading import Loaded
from app.web.endpoints import Endpoint
from app.web.openapi import json_or_photo, parameters_of
from app.web.predict import read_upload
from app.web.protocols.answering import answers_to
from app.web.protocols.json_body import JsonBody, is_json
from app.web.question import why_not_explained
from app.web.schemas.protocols import HfBoxOut, HfClassOut

router = APIRouter(tags=["Hugging Face"])

_IGNORED: Final = frozenset({"inputs", "parameters", "options"})
"""`options` is sent by older clients: `wait_for_model`, `use_cache`."""


def _parameters(**members: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {"type": "string", "format": "byte", "description": "The photo, in base64."},
            "parameters": {
                "type": "object",
                "properties": members,
                "additionalProperties": False,
            },
        },
    }


_TOP_K: Final = {"type": ["integer", "null"], "minimum": 1, "description": "How many classes."}
_SOFTMAX: Final = {"enum": ["softmax", None], "description": "Probabilities are all there is."}
_THRESHOLD: Final = {
    "type": ["number", "null"],
    "minimum": 0,
    "maximum": 1,
    "description": "The least probability of a class in the list.",
}


@router.post(
    Endpoint.HF.path,
    summary="Classify a photo, for clients of Hugging Face",
    openapi_extra={
        "requestBody": json_or_photo(_parameters(top_k=_TOP_K, function_to_apply=_SOFTMAX)),
        "parameters": parameters_of(Endpoint.HF),
    },
)
async def classify(
    model: str,  # noqa: ARG001 (app.web.middleware.admission has found it)
    request: Request,
    top_k: Annotated[int | None, Query(ge=1)] = None,
    function_to_apply: str | None = None,
) -> list[HfClassOut]:
    """Return the most probable classes, the best first, as Hugging Face's image classification does.

    The address is that of a model: `InferenceClient(model="http://HOST/hf/vgg16", token="vgg_...")`.
    """
    loaded: Loaded = request.state.loaded
    given = {"top_k": top_k, "function_to_apply": function_to_apply}
    photo, asked = await _read(request, given)
    classes = len(loaded.labels)
    best = asked["top_k"]
    if best is None:
        best = min(USUAL, classes)
    elif not _is_number(best, int) or not 1 <= best <= classes:
        raise BadRequestError(
            f"top_k: expected a whole number from 1 to {classes}, the classes of"
            f" {request.state.model}.",
            limit={"top_k": classes},
        )
    if asked["function_to_apply"] not in (None, "softmax"):
        raise UnknownParameterError(
            "function_to_apply: this server has the probabilities of softmax, and no logits. Write"
            " softmax, or leave it out."
        )
    [answer] = await answers_to(request, [photo], best)
    return [
        HfClassOut(
            label=one.label, score=one.probability, wnid=one.wnid, class_index=one.class_index
        )
        for one in answer.predictions
    ]


@router.post(
    Endpoint.HF_BOXES.path,
    summary="Say where the classes are, for clients of Hugging Face",
    openapi_extra={
        "requestBody": json_or_photo(_parameters(threshold=_THRESHOLD)),
        "parameters": parameters_of(Endpoint.HF_BOXES),
    },
)
async def locate(
    model: str,  # noqa: ARG001 (app.web.middleware.admission has found it)
    request: Request,
    threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
) -> list[HfBoxOut]:
    """Return the five most probable classes with the boxes where the model looked for them.

    The shape is that of Hugging Face's object detection. A class that is seen nowhere is left out.
    """
    loaded: Loaded = request.state.loaded
    why = why_not_explained(request.app.state.models.get(request.state.model), loaded)
    if why:
        raise UnknownParameterError(
            f"There are no boxes: {why} Ask /hf/NAME for the classes alone."
        )
    photo, asked = await _read(request, {"threshold": threshold})
    least = 0.0 if asked["threshold"] is None else asked["threshold"]
    if not _is_number(least, int | float) or not 0 <= least <= 1:
        raise BadRequestError("threshold: expected a number from 0 to 1.")
    best = min(USUAL, len(loaded.labels))
    [answer] = await answers_to(request, [photo], best, Question(frozenset({"box"})))
    found = answer.explained.located if answer.explained else {}
    boxes = [
        (one, found[one.class_index].box) for one in answer.predictions if one.class_index in found
    ]
    return [
        HfBoxOut.model_validate(
            {
                "label": one.label,
                "score": one.probability,
                "box": box._asdict(),
                "wnid": one.wnid,
                "class_index": one.class_index,
            }
        )
        for one, box in boxes
        if box is not None and one.probability >= least
    ]


async def _read(request: Request, known: Mapping[str, object]) -> tuple[bytes, dict[str, Any]]:
    """Return the photo and its parameters: those of JSON, else those of the address, else None."""
    body = await request.body()
    if not is_json(request.headers.get("content-type", ""), body):
        return await read_upload(request), dict(known)
    read = JsonBody(body)
    unknown = read.members.keys() - _IGNORED
    if "inputs" not in read.members or unknown:
        raise BadRequestError(
            'The JSON needs the member "inputs", and may have "parameters" alone.'
        )
    parameters = read.members.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadRequestError("parameters: expected an object.")
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    if given.keys() - known.keys():
        raise UnknownParameterError(f"parameters: expected nothing but {' and '.join(known)}.")
    return read.photo(read.members["inputs"], "inputs"), {**known, **given}


def _is_number(value: object, kind: Any) -> bool:  # noqa: ANN401 (a type, or a union of types)
    return isinstance(value, kind) and not isinstance(value, bool)
