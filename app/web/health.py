"""Probes and metrics."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.errors import DrainingError, ModelFailedError, NotReadyError
from app.serving.hosted_models import Models
from app.serving.metrics import CONTENT_TYPE
from app.web.endpoints import METHODS, Endpoint
from app.web.problems import answer_error

router = APIRouter(tags=["Operate"])

_OR_503: Final[dict[int | str, dict[str, Any]]] = {503: {"description": "No, and the reason"}}
_STOPPED: Final = "A model has stopped answering. Restart the server."
_TEXT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(Endpoint.HEALTHZ.path, summary="Is the process alive?", responses=_OR_503)
@router.api_route(Endpoint.HEALTHZ.path, methods=METHODS, include_in_schema=False)
async def healthz(request: Request) -> Response:
    """Return 200 while the event loop answers and no model has stopped."""
    models: Models = request.app.state.models
    if not models.alive:
        return answer_error(request.scope, ModelFailedError(_STOPPED))
    return JSONResponse({"status": "alive"})


@router.get(Endpoint.READYZ.path, summary="Can it answer?", responses=_OR_503)
@router.api_route(Endpoint.READYZ.path, methods=METHODS, include_in_schema=False)
async def readyz(request: Request) -> Response:
    """Return 200 once every model is loaded, warmed up and tested, until the server drains.

    The default model may still load, or be missing, while VGG_STAND_IN names one that answers for
    it; `models` has those that answer.
    After a model has stopped: 503 until a restart. The length of the queue does not matter, or one
    burst would remove every server from a load balancer.
    """
    models: Models = request.app.state.models
    if request.app.state.draining.is_set():
        return answer_error(request.scope, DrainingError("The server is shutting down."))
    if not models.alive:
        return answer_error(request.scope, ModelFailedError(_STOPPED))
    if not models.ready:
        states = "; ".join(
            f"{name}: {model.state if model.loaded else model.describe_progress()}"
            for name, model in models.all().items()
        )
        return answer_error(request.scope, NotReadyError(f"Not ready yet. {states}."))
    answering = [name for name, model in models.all().items() if model.answers()]
    return JSONResponse({"status": "ready", "models": answering})


@router.get(
    Endpoint.METRICS.path, summary="Prometheus metrics", response_class=Response, responses=_TEXT
)
@router.api_route(Endpoint.METRICS.path, methods=METHODS, include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus's text format."""
    text: bytes = await request.app.state.scrape()
    return Response(text, media_type=CONTENT_TYPE)
