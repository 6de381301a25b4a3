"""POST /inspect and GET /models/{name}/filters: what a model computes from a photo, layer by layer."""

from base64 import b64encode
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response

from app.errors import UnknownParameterError
from app.graph.inner_maps import last_of_groups, layers_with_maps
from app.graph.vgg import FIRST_LAYER, VggConfig
from app.serving.hosted_models import Models
from app.serving.inspector import COLUMNS, Inspection, Inspector, LayerMaps, no_maps
from app.serving.loading import Loaded
from app.web.accept import PNG, prefers_png
from app.web.endpoints import METHODS, Endpoint
from app.web.openapi import INSPECT_BODY, parameters_of
from app.web.predict import model_ref, read_upload, timing_of, unless_client_leaves
from app.web.problems import CLIENT_LEFT
from app.web.schemas.answers import BoxOut, ImageOut
from app.web.schemas.maps import InspectLayerOut, InspectOut, LayerMapsOut
from app.weights.labels import network_of

router = APIRouter(tags=["Classify"])

_OFF: Final = "The operator of this server has switched the look inside off (VGG_INSPECT=false)."
_PICTURE: Final = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {PNG: _PICTURE}},
    403: {"description": "The look inside is switched off"},
}
_FILTERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {PNG: _PICTURE}},
    304: {"description": "They are those of the ETag"},
    403: {"description": "The look inside is switched off"},
    404: {"description": "Unknown model"},
    422: {"description": "The model has no such filters"},
    503: {"description": "The model is not ready"},
}


@router.post(
    Endpoint.INSPECT.path,
    summary="Look at a photo through the layers of a model",
    response_model=InspectLayerOut | InspectOut,
    responses=_RESPONSES,
    openapi_extra={"requestBody": INSPECT_BODY, "parameters": parameters_of(Endpoint.INSPECT)},
)
async def inspect(
    request: Request,
    layer: Annotated[
        str | None,
        Query(
            description="A convolution or a pooling, as GET /models/{name} lists them; by default"
            " the last convolution of each group."
        ),
    ] = None,
) -> Response:
    """Return the strongest maps of a layer, or of one layer per group, with what they saw.

    Post the photo as for `POST /predict`. With `Accept: image/png` the answer is the sheet alone,
    enlarged; of several layers one row each. One photo at a time, while few others wait: else 503.
    """
    inspector = _inspector(request)
    loaded: Loaded = request.state.loaded  # chosen and admitted by app.web.middleware.admission
    config = _network(loaded)
    known = layers_with_maps(config)
    if layer and layer not in known:
        raise UnknownParameterError(
            f"layer: {request.state.model} has no maps of that name. It has {', '.join(known)}."
        )
    wanted = (layer,) if layer else last_of_groups(config)
    for_people = prefers_png(request.headers.getlist("accept"))
    data = await read_upload(request)
    work = inspector.look(
        loaded, config, wanted, data, request.state.deadline, for_people=for_people
    )
    found = await unless_client_leaves(request, work)
    if found is None:
        return Response(status_code=CLIENT_LEFT)
    return _answer(request, found, len(data), one=bool(layer), for_people=for_people)


def _answer(
    request: Request, found: Inspection, size: int, *, one: bool, for_people: bool
) -> Response:
    image = ImageOut.model_validate(found.image)
    request.state.fields = {"model": request.state.model, "bytes": size, **image.model_dump()}
    headers = {"Server-Timing": timing_of(request, found.seconds), "Vary": "Accept"}
    if for_people:
        return Response(found.sheets[0], media_type=PNG, headers=headers)
    about: dict[str, Any] = {
        "model": model_ref(request),
        "image": image,
        "view": BoxOut.model_validate(found.view),
    }
    layers = [_layer(*pair) for pair in zip(found.layers, found.sheets, strict=True)]
    body = (
        InspectLayerOut(**about, **dict(layers[0])) if one else InspectOut(**about, layers=layers)
    )
    return Response(body.model_dump_json(), media_type="application/json", headers=headers)


def _layer(found: LayerMaps, sheet: bytes) -> LayerMapsOut:
    return LayerMapsOut(
        layer=found.layer,
        channels=found.channels,
        silent=found.silent,
        tile=found.side,
        columns=COLUMNS,
        maps=list(found.maps),  # type: ignore[arg-type] # read by attribute
        png=b64encode(sheet).decode(),
    )


@router.get(
    Endpoint.FILTERS.path,
    summary="Show the filters of the first layer",
    response_class=Response,
    responses=_FILTERS,
)
@router.api_route(Endpoint.FILTERS.path, methods=METHODS, include_in_schema=False)
async def show_filters(name: str, request: Request) -> Response:
    """Return the filters of conv1_1 as a PNG, in their order, eight a row.

    In each, middle grey is 0; red, green and blue are what it answers to in the photo.
    """
    inspector = _inspector(request)
    models: Models = request.app.state.models
    model = models.get(name)
    loaded = model.ready()
    _network(loaded)
    picture = await inspector.filters(loaded, FIRST_LAYER)
    tag = f'"{sha256(picture).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(picture, media_type=PNG, headers=headers)


def _network(loaded: Loaded) -> VggConfig:
    """Return the network of a model that can be looked into; UnknownParameterError for another."""
    if loaded.precision == "int8":
        raise no_maps("it computes in int8 on this server")
    config = network_of(loaded.manifest, loaded.labels)
    if config is None:
        raise no_maps()
    return config


def _inspector(request: Request) -> Inspector:
    """Return what looks inside; HTTPException if the operator has switched it off."""
    inspector: Inspector | None = request.app.state.inspector
    if inspector is None:
        raise HTTPException(403, _OFF)
    return inspector
