"""The Open Inference Protocol over HTTP: what there is, and whether it is ready."""

import asyncio
import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from app.errors import (
    BadRequestError,
    BodyTooLargeError,
    DrainingError,
    ModelFailedError,
    SlowUploadError,
)
from app.serving.hosted_models import HostedModel, Models
from app.web.endpoints import METHODS, Endpoint
from app.web.health import healthz, readyz
from app.web.protocols.answering import check_version
from app.web.protocols.oip.answer import VERSION
from app.web.protocols.oip.describe import SERVER, config_of, index_of, metadata_of
from app.web.protocols.oip.stats import stats_of

TAG: Final = "Open Inference Protocol"
router = APIRouter(tags=[TAG])

_Documented = dict[int | str, dict[str, Any]]
_OR_404: Final[_Documented] = {404: {"description": "Unknown model or version"}}
_OR_503: Final[_Documented] = {503: {"description": "No, and the reason"}}
_MOST_BYTES: Final = 4096
"""Of a question about the repository."""
_PATIENCE: Final = 5.0
"""Seconds for that question to arrive."""


def hosted(request: Request, model: str, version: str = VERSION) -> HostedModel:
    """Return the model that a path names.

    Raises:
        UnknownModelError: If there is none of this name, or not in this version.
    """
    models: Models = request.app.state.models
    found = models.get(model)
    check_version(version)
    return found


Hosted = Annotated[HostedModel, Depends(hosted)]


@router.get(Endpoint.OIP.path, summary="Describe the server")
@router.api_route(Endpoint.OIP.path, methods=METHODS, include_in_schema=False)
async def server() -> dict[str, Any]:
    """Return its name, its version and the extensions of the protocol that it has."""
    return SERVER


@router.get(Endpoint.OIP_LIVE.path, summary="Is the process alive?", responses=_OR_503)
@router.api_route(Endpoint.OIP_LIVE.path, methods=METHODS, include_in_schema=False)
async def live(request: Request) -> Response:
    """Return 200 under the same conditions as GET /healthz."""
    answer = await healthz(request)
    return JSONResponse({"live": True}) if answer.status_code == 200 else answer  # noqa: PLR2004 (OK)


@router.get(Endpoint.OIP_READY.path, summary="Can it answer?", responses=_OR_503)
@router.api_route(Endpoint.OIP_READY.path, methods=METHODS, include_in_schema=False)
async def ready(request: Request) -> Response:
    """Return 200 under the same conditions as GET /readyz."""
    answer = await readyz(request)
    return JSONResponse({"ready": True}) if answer.status_code == 200 else answer  # noqa: PLR2004 (OK)


@router.get(Endpoint.OIP_MODELS.path, summary="List the models")
@router.api_route(Endpoint.OIP_MODELS.path, methods=METHODS, include_in_schema=False)
async def models(request: Request) -> dict[str, list[str]]:
    """Return the names of all models, the default first."""
    return {"models": list(_all(request))}


@router.post(Endpoint.OIP_INDEX.path, summary="List the models and their states")
async def index(request: Request) -> list[dict[str, str]]:
    """Return every model of this server, or those that are ready if the body asks for them."""
    wanted = await _read_question(request)
    rows = [index_of(model) for model in _all(request).values()]
    return [row for row in rows if row["state"] == "READY" or not wanted.get("ready")]


@router.get(Endpoint.OIP_ALL_STATS.path, summary="Count what all models did")
@router.api_route(Endpoint.OIP_ALL_STATS.path, methods=METHODS, include_in_schema=False)
async def all_stats(request: Request) -> dict[str, Any]:
    """Return the statistics of every model since the start."""
    text = (await request.app.state.scrape()).decode()
    return {"model_stats": [stats_of(model, text) for model in _all(request).values()]}


@router.get(Endpoint.OIP_MODEL.path, summary="Describe a model's tensors", responses=_OR_404)
@router.api_route(Endpoint.OIP_MODEL.path, methods=METHODS, include_in_schema=False)
@router.api_route(Endpoint.OIP_MODEL_VERSION.path, methods=METHODS, include_in_schema=False)
async def metadata(model: Hosted) -> dict[str, Any]:
    """Return the one input and the one output; photos may be sent instead of pixels."""
    return metadata_of(model)


@router.get(
    Endpoint.OIP_MODEL_READY.path, summary="Can a model answer?", responses=_OR_404 | _OR_503
)
@router.api_route(Endpoint.OIP_MODEL_READY.path, methods=METHODS, include_in_schema=False)
@router.api_route(Endpoint.OIP_VERSION_READY.path, methods=METHODS, include_in_schema=False)
async def model_ready(request: Request, model: Hosted) -> dict[str, Any]:
    """Return 200 once the model is loaded, until it fails or the server drains."""
    if request.app.state.draining.is_set():
        raise DrainingError("The server is shutting down.")
    model.ready()
    if not model.answers():
        raise ModelFailedError("The model has stopped answering. Restart the server.")
    return {"name": model.manifest.name, "ready": True}


@router.get(Endpoint.OIP_CONFIG.path, summary="Show a model's configuration", responses=_OR_404)
@router.api_route(Endpoint.OIP_CONFIG.path, methods=METHODS, include_in_schema=False)
@router.api_route(Endpoint.OIP_VERSION_CONFIG.path, methods=METHODS, include_in_schema=False)
async def config(request: Request, model: Hosted) -> dict[str, Any]:
    """Return it as Triton would; `max_batch_size` is how many images a request may have."""
    hosting: Models = request.app.state.models
    stands_in = hosting.stands_in and model.manifest.name == hosting.stand_in
    return config_of(model, hosting.default if stands_in else None)


@router.get(Endpoint.OIP_STATS.path, summary="Count what a model did", responses=_OR_404)
@router.api_route(Endpoint.OIP_STATS.path, methods=METHODS, include_in_schema=False)
@router.api_route(Endpoint.OIP_VERSION_STATS.path, methods=METHODS, include_in_schema=False)
async def stats(request: Request, model: Hosted) -> dict[str, Any]:
    """Return its statistics since the start, as Triton would."""
    return {"model_stats": [stats_of(model, (await request.app.state.scrape()).decode())]}


def _all(request: Request) -> dict[str, HostedModel]:
    models: Models = request.app.state.models
    return dict(models.all())


async def _read_question(request: Request) -> dict[str, Any]:
    """Read a short JSON object, or nothing."""
    body = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BYTES:
                    raise BodyTooLargeError(
                        f"The body has more than {_MOST_BYTES} bytes.", limit={"bytes": _MOST_BYTES}
                    )
    except TimeoutError as exc:
        raise SlowUploadError("The body did not arrive in time.") from exc
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError) as exc:
        raise BadRequestError("The body is not JSON.") from exc
    if not isinstance(asked, dict):
        raise BadRequestError("The body is not a JSON object.")
    return asked
