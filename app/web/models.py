"""GET /models and GET /models/{name}."""

from typing import Any, Final

from fastapi import APIRouter, Request

from app.serving.batching.explaining import MOST
from app.serving.hosted_models import HostedModel, Models
from app.web.endpoints import METHODS, Endpoint
from app.web.schemas.models import (
    AccuracyOut,
    AgreementOut,
    BatchingOut,
    ExplainsOut,
    LayerOut,
    ModelOut,
    ModelsOut,
    ModelSummary,
    PreprocessOut,
)
from app.weights.labels import network_of

router = APIRouter(tags=["Models"])

_ONCE_READY: Final = ("weights_sha256", "device", "precision", "convolutions", "devices")


@router.get(Endpoint.MODELS.path, summary="List the models")
@router.api_route(Endpoint.MODELS.path, methods=METHODS, include_in_schema=False)
async def list_models(request: Request) -> ModelsOut:
    """Return every model of this server, the default first."""
    models: Models = request.app.state.models
    return ModelsOut(models=[_summary(model, models) for model in models.all().values()])


@router.get(
    Endpoint.MODEL.path,
    summary="Describe a model, layer by layer",
    responses={404: {"description": "Unknown model"}},
)
@router.api_route(Endpoint.MODEL.path, methods=METHODS, include_in_schema=False)
async def show_model(name: str, request: Request) -> ModelOut:
    """Return a model's origin, device and batching, and the cost of each layer."""
    models: Models = request.app.state.models
    model = models.get(name)
    manifest, loaded = model.manifest, model.loaded
    config = network_of(manifest, model.labels)
    measured = manifest.accuracy is not None and not (loaded and not loaded.trained)
    once_ready: dict[str, Any] = {name: getattr(loaded, name, None) for name in _ONCE_READY}
    agreement, batching = loaded and loaded.agreement, None
    if loaded is not None:
        cost = loaded.queue.policy.cost
        batching = BatchingOut(
            sizes=[size for size, _ in cost.measured],
            seconds=dict(cost.measured),
            seconds_per_image=cost.per_image,
            seconds_per_run=cost.per_run,
        )
    return ModelOut(
        **_summary(model, models).model_dump(),
        license=manifest.license,
        **once_ready,
        progress=None if loaded else model.describe_progress(),
        preprocess=PreprocessOut.model_validate(manifest.preprocess),
        accuracy=AccuracyOut.model_validate(manifest.accuracy) if measured else None,
        agreement=AgreementOut.model_validate(agreement) if agreement else None,
        batching=batching,
        explanation=_explanation(model),
        configuration=config.configuration if config else None,
        parameters=config.parameters() if config else None,
        multiply_adds=config.multiply_adds() if config else None,
        layers=[LayerOut.model_validate(row) for row in config.layers()] if config else [],
    )


def _explanation(model: HostedModel) -> ExplainsOut | None:
    """Describe how a model explains; None of a ready graph, or where its session cannot."""
    manifest, loaded = model.manifest, model.loaded
    cost = loaded.queue.policy.explaining if loaded else None
    how = manifest.explanation
    if how is None or (loaded and loaded.trained and cost is None):
        return None
    return ExplainsOut(
        method=how.method,
        layer=" + ".join(how.layers),
        threshold=how.threshold,
        most_classes=MOST,
        seconds_per_class=cost.per_image if cost else None,
        seconds_per_batch=cost.per_run if cost else None,
    )


def _summary(model: HostedModel, models: Models) -> ModelSummary:
    manifest, loaded = model.manifest, model.loaded
    return ModelSummary(
        name=manifest.name,
        title=manifest.title,
        default=manifest.name == models.default,
        state=model.state,
        trained=loaded.trained if loaded else (None if manifest.trained else False),
        classes=len(model.labels),
        temperature=manifest.temperature,
        stands_in_for=models.default
        if models.stands_in and manifest.name == models.stand_in
        else None,
    )
