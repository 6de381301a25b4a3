"""GET /models and GET /models/{name}."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.graph.vgg import VggConfig, architecture
from app.serving.hosted_models import HostedModel, Models
from app.serving.loading import Loaded
from app.web.paths import Endpoint
from app.web.schemas import (
    AccuracyOut,
    BatchingOut,
    LayerOut,
    ModelOut,
    ModelsOut,
    ModelSummary,
    PreprocessOut,
)

router = APIRouter()


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


ModelsDep = Annotated[Models, Depends(_models)]


@router.get(Endpoint.MODELS.path, summary="List the models")
async def list_models(models: ModelsDep) -> ModelsOut:
    """Return every model of this server, the default first."""
    return ModelsOut(models=[_summary(model, models) for model in models.all().values()])


@router.get(
    Endpoint.MODEL.path,
    summary="Describe a model, layer by layer",
    responses={404: {"description": "Unknown model"}},
)
async def show_model(name: str, models: ModelsDep) -> ModelOut:
    """Return a model's origin, device and batching, and the cost of each layer."""
    model = models.get(name)
    manifest, loaded = model.manifest, model.loaded
    config = architecture(manifest.architecture) if manifest.architecture else None
    measured = manifest.accuracy is not None and not (loaded and not loaded.trained)
    return ModelOut(
        **_summary(model, models).model_dump(),
        license=manifest.license,
        weights_sha256=loaded.weights_sha256 if loaded else None,
        device=loaded.device if loaded else None,
        precision=loaded.precision if loaded else None,
        convolutions=loaded.convolutions if loaded else None,
        devices=loaded.devices if loaded else None,
        progress=None if loaded else model.describe_progress(),
        preprocess=PreprocessOut.model_validate(manifest.preprocess),
        accuracy=AccuracyOut.model_validate(manifest.accuracy) if measured else None,
        batching=_batching(loaded) if loaded else None,
        **_architecture(config),
    )


def _summary(model: HostedModel, models: Models) -> ModelSummary:
    manifest, loaded = model.manifest, model.loaded
    return ModelSummary(
        name=manifest.name,
        title=manifest.title,
        default=manifest.name == models.default,
        state=model.state,
        trained=loaded.trained if loaded else (None if manifest.trained else False),
    )


def _batching(loaded: Loaded) -> BatchingOut:
    cost = loaded.queue.policy.cost
    return BatchingOut(
        sizes=[size for size, _ in cost.measured],
        seconds=dict(cost.measured),
        seconds_per_image=cost.per_image,
        seconds_per_run=cost.per_run,
    )


def _architecture(config: VggConfig | None) -> dict[str, Any]:
    if config is None:
        return {"configuration": None, "parameters": None, "multiply_adds": None, "layers": []}
    return {
        "configuration": config.configuration,
        "parameters": config.parameters(),
        "multiply_adds": config.multiply_adds(),
        "layers": [LayerOut.model_validate(row) for row in config.layers()],
    }
