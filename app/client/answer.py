"""What a server answers, as records; members that a newer server adds are in `body`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_HEAT: Final = 1 << 16
"""Values of a map."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the photo, upright; xmax and ymax are exclusive."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


@dataclass(frozen=True, slots=True)
class Heat:
    """Where in the view a class was seen: values of 0 to 1, row by row from the top left."""

    rows: int
    columns: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class.

    Attributes:
        rank: 1 is the most probable class.
        label: Its names; not unique.
        probability: 0 to 1, softmax over all classes.
        wnid: WordNet id; None for a class that is not WordNet's.
        class_index: Place in the model's output, from 0.
        box: Where it is, if boxes were asked for and something speaks for the class.
        evidence_in_box: Share of what speaks for the class that lies in the box, if it was asked for.
        heat: Where it was seen, if that was asked for.
    """

    rank: int
    label: str
    probability: float
    wnid: str | None
    class_index: int
    box: Box | None = None
    evidence_in_box: float | None = None
    heat: Heat | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The photo: pixels, upright, and its format."""

    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The most probable classes of one photo.

    Attributes:
        predictions: The best first.
        model: Name of the model.
        image: Size and format of the photo.
        trained: False for untrained weights, whose answers mean nothing.
        weights_sha256: Of the file with the weights.
        precision: `int8` where the model computes in whole numbers; else None.
        stands_in_for: The model that was to answer, where another did in its place; else None.
        asked: Classes that were asked for by `classes`.
        view: The part of the photo that the model saw, if the answer is explained.
        request_id: By which the server's log has this request.
        seconds: How long the server took, by stage: decode, queue, run, total.
        batch_size: Photos that were run together; None if the server does not say.
        body: The whole JSON.
    """

    predictions: tuple[Prediction, ...]
    model: str
    image: ImageInfo
    trained: bool
    weights_sha256: str
    precision: str | None = None
    stands_in_for: str | None = None
    asked: tuple[Prediction, ...] = ()
    view: Box | None = None
    request_id: str | None = field(default=None, compare=False)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)
    batch_size: int | None = field(default=None, compare=False)
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def best(self) -> Prediction:
        """Return the most probable class."""
        return self.predictions[0]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a server.

    Attributes:
        name: As in `classify(model=...)`.
        title: For people.
        default: Whether it answers where no model is named.
        state: `waiting`, `loading`, `ready` or `failed`.
        trained: False for untrained weights; None until it is known.
        classes: Number of classes that it knows.
        stands_in_for: The default model, while this one answers in its place; else None.
        body: The whole JSON; that of `model(NAME)` has digest, precision, preprocessing and more.
    """

    name: str
    title: str
    default: bool
    state: str
    trained: bool | None
    classes: int
    stands_in_for: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


Malformed: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What the functions below raise for JSON that no vgg-serve sends."""


def read_predictions(rows: Any) -> tuple[Prediction, ...]:  # noqa: ANN401 (JSON)
    """Read a list of classes."""
    return tuple(_prediction(row) for row in rows)


def read_answer(
    body: Mapping[str, Any],
    request_id: str | None = None,
    seconds: Mapping[str, float] | None = None,
    batch_size: int | None = None,
) -> Answer:
    """Read the answer of POST /predict."""
    image, model, view = body["image"], body["model"], body.get("view")
    predictions = read_predictions(body["predictions"])
    if not predictions:
        raise ValueError("an answer without a class")
    return Answer(
        predictions=predictions,
        model=str(model["name"]),
        image=ImageInfo(int(image["width"]), int(image["height"]), str(image["format"])),
        trained=bool(model["trained"]),
        weights_sha256=str(model.get("weights_sha256", "")),
        precision=_text(model.get("precision")),
        stands_in_for=_text(model.get("stands_in_for")),
        asked=read_predictions(body.get("asked") or ()),
        view=_box(view) if view else None,
        request_id=request_id,
        seconds=dict(seconds or {}),
        batch_size=batch_size,
        body=body,
    )


def read_model(body: Mapping[str, Any]) -> Model:
    """Read one model of GET /models, or the answer of GET /models/NAME."""
    trained = body.get("trained")
    return Model(
        name=str(body["name"]),
        title=str(body.get("title", body["name"])),
        default=bool(body.get("default")),
        state=str(body["state"]),
        trained=None if trained is None else bool(trained),
        classes=int(body["classes"]),
        stands_in_for=_text(body.get("stands_in_for")),
        body=body,
    )


def _prediction(row: Mapping[str, Any]) -> Prediction:
    box, share, heat = row.get("box"), row.get("evidence_in_box"), row.get("heat")
    return Prediction(
        rank=int(row["rank"]),
        label=str(row["label"]),
        probability=float(row["probability"]),
        wnid=_text(row["wnid"]),
        class_index=int(row["class_index"]),
        box=_box(box) if box else None,
        evidence_in_box=None if share is None else float(share),
        heat=_heat(heat) if heat else None,
    )


def _box(corners: Mapping[str, Any]) -> Box:
    return Box(*(int(corners[name]) for name in ("xmin", "ymin", "xmax", "ymax")))


def _heat(heat: Mapping[str, Any]) -> Heat:
    rows, columns = int(heat["rows"]), int(heat["columns"])
    values = heat["values"]
    if not 0 < rows * columns <= _MOST_HEAT or len(values) != rows * columns:
        raise ValueError("so large a map is not sent")
    return Heat(rows, columns, tuple(min(1.0, max(0.0, float(value))) for value in values))


def _text(value: object) -> str | None:
    return None if value is None else str(value) or None
