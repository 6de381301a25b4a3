"""The answers of GET /models: what a model is, and what it costs here."""

from typing import Literal

from pydantic import Field

from app.web.schemas.answers import HowOut
from app.web.schemas.base import Out


class LayerOut(Out):
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


class ModelSummary(Out):
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
    temperature: float
    """Divides the logits before softmax, as its manifest says; 1 leaves probabilities as they were trained."""
    stands_in_for: str | None
    """The default model, while this one answers in its place."""


class ModelsOut(Out):
    """The answer of GET /models."""

    models: list[ModelSummary]


class PreprocessOut(Out):
    """How a photo becomes the input of the network: x = (pixel - mean) / std, 0 to 255."""

    resize: int
    """Shorter side in pixels, bilinear with antialiasing."""
    crop: int
    """Side of the centre square in pixels."""
    channels: str
    """RGB or BGR."""
    mean: list[float]
    std: list[float]


class AccuracyOut(Out):
    """Accuracy on ImageNet's validation set, as measured by the publisher of the weights."""

    top1: float
    """Per cent."""
    top5: float
    """Per cent."""
    source: str


class BatchingOut(Out):
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


class AgreementOut(Out):
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
