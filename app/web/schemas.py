"""The public JSON, as pydantic models; the docstrings are the descriptions at /docs."""

from operator import not_
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.images.formats import FORMATS, listed


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, frozen=True)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return the first example of each field."""
        return {name: (field.examples or [None])[0] for name, field in cls.model_fields.items()}


class ModelRef(_Out):
    """The model that answered."""

    name: str = Field(examples=["vgg16"])
    """Name of the model, as in the query parameter."""
    weights_sha256: str = Field(
        examples=["57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8"]
    )
    """SHA-256 of the weights file."""
    trained: bool = Field(examples=[True])
    """False for untrained weights: their answers mean nothing."""
    precision: str | None = Field(default=None, exclude_if=not_)
    """`int8` where the model computes in whole numbers, so that probabilities differ from those of float32; else
    absent. See GET /models/{name}, agreement."""
    stands_in_for: str | None = Field(default=None, exclude_if=not_)
    """The default model, which is not there, where this one answered in its place; else absent."""


class PredictionOut(_Out):
    """One class."""

    rank: int = Field(examples=[1])
    """1 is the most probable."""
    label: str = Field(examples=["tabby, tabby cat"])
    """English names; some classes share theirs, so do not use it as a key."""
    probability: float = Field(examples=[0.4251449])
    """Softmax over all classes, 0 to 1."""
    wnid: str | None = Field(examples=["n02123045"])
    """WordNet id; null for classes that are not WordNet's."""
    class_index: int = Field(examples=[281])
    """Place in the model's output, from 0."""


class ImageOut(_Out):
    """The uploaded image."""

    width: int = Field(examples=[1024])
    """Pixels, upright."""
    height: int = Field(examples=[768])
    """Pixels, upright."""
    format: str = Field(examples=["jpeg"], description=f"{listed(one.name for one in FORMATS)}.")


class PredictOut(_Out):
    """The answer of POST /predict: a function of the image, the model and top_k alone."""

    model: ModelRef
    predictions: list[PredictionOut]
    image: ImageOut


class BoxOut(_Out):
    """A rectangle in pixels of the uploaded image, upright; xmax and ymax are exclusive."""

    xmin: int = Field(examples=[212])
    ymin: int = Field(examples=[96])
    xmax: int = Field(examples=[771])
    ymax: int = Field(examples=[688])


class HeatOut(_Out):
    """Where in the view the network sees the class: 0 to 1, row by row from the top left."""

    rows: int
    columns: int
    values: list[float]


class LocatedOut(PredictionOut):
    """One class, and where it was seen; null where nothing in the image speaks for it."""

    box: BoxOut | None = Field(default=None, examples=[BoxOut.example()])
    """Around the largest area that speaks for the class; with explain=box or evidence."""
    evidence_in_box: float | None = Field(default=None, examples=[0.634])
    """Share of what speaks for the class that lies in the box, 0 to 1; with explain=evidence."""
    heat: HeatOut | None = None
    """With explain=heat."""


class ClassOut(_Out):
    """A class by its names."""

    label: str
    wnid: str | None
    class_index: int


class HowOut(_Out):
    """How classes are located."""

    method: str = Field(examples=["grad-cam"])
    """grad-cam or layer-cam."""
    layer: str = Field(examples=["conv5_3"])
    """The convolutions whose maps are read, joined by plus signs."""
    threshold: float = Field(examples=[0.15])
    """Share of the largest value from which on a place belongs to the box."""


class ExplanationOut(HowOut):
    """How the classes of an answer were located."""

    against: ClassOut | None = None
    """The class that the others were compared with; absent without the parameter against."""
    withheld: str | None = None
    """Why every box is null, where the model could say nothing; else absent."""


class ExplainedOut(PredictOut):
    """The answer of POST /predict; what a request did not ask for is absent."""

    predictions: list[LocatedOut]  # type: ignore[assignment] # with more fields
    asked: list[LocatedOut] | None = None
    """The classes of the parameter classes, in its order; rank is that among all classes."""
    view: BoxOut | None = None
    """The part of the image that the network saw."""
    explanation: ExplanationOut | None = None


class FeatureMapOut(_Out):
    """One map of a layer, after ReLU."""

    channel: int = Field(examples=[17])
    """Its number, from 0."""
    maximum: float = Field(examples=[3.25])
    """Its largest value."""
    receptive_field: BoxOut
    """What that value saw of the photo."""


class LayerMapsOut(_Out):
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


class _Inspected(_Out):
    model: ModelRef
    image: ImageOut
    view: BoxOut
    """The part of the photo that the model sees."""


class InspectOut(_Inspected):
    """The answer of POST /inspect: the last convolution of each group."""

    layers: list[LayerMapsOut]


class InspectLayerOut(LayerMapsOut, _Inspected):
    """The answer of POST /inspect?layer=."""


class LayerOut(_Out):
    """One layer, as in the paper."""

    name: str = Field(examples=["conv1_1"])
    """conv, pool or fc, with its group and its number in the group."""
    kind: str = Field(examples=["convolution"])
    """convolution, max-pooling or fully connected."""
    kernel: int = Field(examples=[3])
    """Side of the kernel in pixels; 0 for fully connected layers."""
    stride: int = Field(examples=[1])
    """Stride of the kernel in pixels; 0 for fully connected layers."""
    output_shape: list[int] = Field(examples=[[64, 224, 224]])
    """Channels, height and width; for fully connected layers the number of units."""
    parameters: int = Field(examples=[1792])
    """Weights and biases."""
    multiply_adds: int = Field(examples=[86_704_128])
    """Multiplications with an addition, per image."""
    receptive_field: int = Field(examples=[3])
    """Side of the area of the input that one output value depends on, in pixels."""


class ModelSummary(_Out):
    """One model of GET /models."""

    name: str
    title: str
    default: bool
    """Whether it answers requests that name no model."""
    state: Literal["waiting", "loading", "ready", "failed"]
    trained: bool | None
    """False for untrained weights; null until it is known."""
    classes: int
    """Number of classes that it knows."""
    stands_in_for: str | None
    """The default model, while this one answers in its place."""


class ModelsOut(_Out):
    """The answer of GET /models."""

    models: list[ModelSummary]


class PreprocessOut(_Out):
    """How a photo becomes the input of the network: x = (pixel - mean) / std, 0 to 255."""

    resize: int
    """Shorter side in pixels, bilinear with antialiasing."""
    crop: int
    """Side of the centre square in pixels."""
    channels: str
    """RGB or BGR."""
    mean: list[float]
    std: list[float]


class AccuracyOut(_Out):
    """Accuracy on ImageNet's validation set, as measured by the publisher of the weights."""

    top1: float
    """Per cent."""
    top5: float
    """Per cent."""
    source: str


class BatchingOut(_Out):
    """Batch sizes on this machine, and what a run costs."""

    sizes: list[int]
    """The only batch sizes that run."""
    seconds: dict[int, float]
    """Shortest measured seconds per run at warm-up, by batch size."""
    seconds_per_image: float
    """a of the fitted cost(n) = a*n + b."""
    seconds_per_run: float
    """b of the fitted cost(n) = a*n + b."""


class ExplainsOut(HowOut):
    """How a model explains its answers, and what that costs."""

    most_classes: int
    """Most classes of one request."""
    seconds_per_class: float | None
    """a of the fitted cost(n) = a*n + b; null until the model is ready, and for untrained weights."""
    seconds_per_batch: float | None
    """b of the fitted cost(n) = a*n + b."""


class AgreementOut(_Out):
    """How near the answers of int8 are to those of float32, measured when the graph was made."""

    source: str
    """The photos: those of a folder, or the built-in samples."""
    photos_sha256: str
    """Of the photos together."""
    calibrated: int
    """Images that the ranges of the whole numbers come from."""
    held_back: int
    """Further images that were compared, and on which nothing of the graph depends."""
    same_first: float
    """Share of all these images with the same first answer."""
    same_five: float
    """Share with the same five answers, in any order."""
    mean_difference: float
    """Of the probability of float32's first answer."""
    largest_difference: float
    """Of the probability of any class."""


class ModelOut(ModelSummary):
    """The answer of GET /models/{name}."""

    license: str
    weights_sha256: str | None
    """null until it is ready."""
    device: str | None
    """cpu or cuda; null until it is ready."""
    precision: str | None
    """float32, float16 or int8; null until it is ready."""
    agreement: AgreementOut | None
    """How near int8 is to float32; null for any other precision."""
    convolutions: str | None
    """winograd if Winograd's algorithm computes some of them, else direct; null until it is ready."""
    devices: int | None
    """Number of devices that share the work; null until it is ready."""
    progress: str | None
    """Step of loading; null once it is ready."""
    preprocess: PreprocessOut
    accuracy: AccuracyOut | None
    """null if it is unknown, and for stand-in weights."""
    batching: BatchingOut | None
    """null until it is ready."""
    explanation: ExplainsOut | None
    """What the parameter explain answers; null for models that cannot be explained."""
    configuration: str | None
    """Column of table 1 in the paper, A to E; null for other networks."""
    parameters: int | None
    multiply_adds: int | None
    layers: list[LayerOut]
    """Empty for networks outside the VGG family."""


class ProblemOut(_Out):
    """An error (RFC 9457, application/problem+json)."""

    type: str = Field(examples=["/problems/overloaded"])
    """Stable name of the problem."""
    title: str
    status: int
    detail: str
    """What happened this time and what to do."""
    request_id: str | None
    retryable: bool
    """Whether the same request may succeed later."""
    limit: dict[str, float] | None = None
    """The limits that the request exceeded, by name."""
