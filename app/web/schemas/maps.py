"""The answers of POST /inspect: what a model computes inside."""

from pydantic import Field

from app.web.schemas.answers import BoxOut, ImageOut, ModelRef
from app.web.schemas.base import Out


class FeatureMapOut(Out):
    """One map of a layer, after ReLU."""

    channel: int = Field(examples=[17])
    """Its number, from 0."""
    maximum: float = Field(examples=[3.25])
    """Its largest value."""
    receptive_field: BoxOut
    """What that value saw of the photo."""


class LayerMapsOut(Out):
    """The strongest maps of a layer, up to 16, the one with the largest value first."""

    layer: str = Field(examples=["conv3_3"])
    channels: int = Field(examples=[256])
    """Maps that the layer has."""
    silent: int = Field(examples=[31])
    """Maps that are zero everywhere in this photo."""
    tile: int = Field(examples=[56])
    """Side of a map, and of its tile on the sheet, in pixels."""
    columns: int = Field(examples=[4])
    """Tiles per row of the sheet, on which the maps are in the order of `maps`."""
    maps: list[FeatureMapOut]
    png: str
    """The sheet: a grey PNG of 8 bits, base64. In each tile 0 is black, and the map's maximum white."""


class _Inspected(Out):
    model: ModelRef
    image: ImageOut
    view: BoxOut
    """The part of the photo that the model sees."""


class InspectOut(_Inspected):
    """The answer of POST /inspect: the last convolution of each group."""

    layers: list[LayerMapsOut]


class InspectLayerOut(LayerMapsOut, _Inspected):
    """The answer of POST /inspect?layer=."""
