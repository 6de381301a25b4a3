"""The answers to photos: classes, and where they were seen."""

from operator import not_

from pydantic import Field

from app.images.formats import FORMATS, listed
from app.web.schemas.base import Out


class ModelRef(Out):
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


class PredictionOut(Out):
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


class ImageOut(Out):
    """The uploaded image."""

    width: int = Field(examples=[1024])
    """Pixels, upright."""
    height: int = Field(examples=[768])
    """Pixels, upright."""
    format: str = Field(examples=["jpeg"], description=f"{listed(one.name for one in FORMATS)}.")


class PredictOut(Out):
    """The answer of POST /predict: a function of the image, the model and top_k alone."""

    model: ModelRef
    predictions: list[PredictionOut]
    image: ImageOut
    unusual: bool | None = Field(default=None, exclude_if=not_)
    """true if the photo is unlike those that the model knows: it speaks for all classes together less than
    99 of 100 photos of the model's baseline do. Absent for other photos, and for a model without a baseline."""


class TestedOut(PredictOut):
    """The answer of POST /predict with the parameter test."""

    test: str = Field(examples=["dense"])
    """The test: dense or ten-crop."""
    scale: int = Field(examples=[256])
    """Pixels to which the shorter side of the photo was resized."""
    positions: int | None = Field(default=None, exclude_if=not_, examples=[16])
    """Of dense: the positions of the model's crop that were averaged, mirrored ones included; else absent."""
    crops: int | None = Field(default=None, exclude_if=not_)
    """Of ten-crop: the crops that were averaged; else absent."""


class BoxOut(Out):
    """A rectangle in pixels of the uploaded image, upright; xmax and ymax are exclusive."""

    xmin: int = Field(examples=[212])
    ymin: int = Field(examples=[96])
    xmax: int = Field(examples=[771])
    ymax: int = Field(examples=[688])


class HeatOut(Out):
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


class ClassOut(Out):
    """A class by its names."""

    label: str
    wnid: str | None
    class_index: int


class HowOut(Out):
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
