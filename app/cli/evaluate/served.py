"""What a server says about one of its models: names of classes, preprocessing, digest, precision."""

from dataclasses import dataclass
from typing import Any, Final

from app.client.answer import Answer, Model
from app.client.blocking import Client
from app.client.errors import ClientError
from app.client.photo import open_photo
from app.evaluation.classes import Classes
from app.records import Label, Preprocess
from app.setup_errors import SetupError

_TOP_K: Final = "top_k"
"""Name of the limit of classes in a problem."""


@dataclass(frozen=True, slots=True)
class PublishedAccuracy:
    """Top-1 and top-5 in per cent."""

    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class ServedManifest:
    """What GET /models/NAME says of a manifest."""

    name: str
    title: str
    preprocess: Preprocess
    accuracy: PublishedAccuracy | None


@dataclass(frozen=True, slots=True)
class ServedGraph:
    """What GET /models/NAME says of the weights; digest and precision are the server's words."""

    trained: bool
    weights_sha256: str
    precision: str | None


def probe(client: Client, name: str | None) -> Answer:
    """Have a grey photo classified for all classes: their names are in no description.

    Raises:
        ClientError: If there is no answer.
        SetupError: If it does not name all classes.
    """
    grey = open_photo(memoryview(bytes([127]) * 256 * 256).cast("B", (256, 256))).file.read()
    first = client.classify(grey, model=name, top_k=1)
    known = client.model(first.model).classes
    try:
        answer = client.classify(grey, model=name, top_k=known)
    except ClientError as exc:
        if _TOP_K in exc.limit:
            raise SetupError(too_few(client.url, int(exc.limit[_TOP_K]), known)) from exc
        raise
    indices = {one.class_index for one in answer.predictions}
    if indices != set(range(known)):
        raise SetupError(too_few(client.url, len(indices), known))
    return answer


def read_served(
    url: str, model: Model, answer: Answer
) -> tuple[ServedManifest, ServedGraph, Classes]:
    """Return what a server says about a model, and its classes, all of which are in the answer.

    Raises:
        SetupError: If the description is none of a vgg-serve's.
    """
    body = model.body
    ranked = sorted(answer.predictions, key=lambda one: one.class_index)
    classes = Classes([Label(one.wnid, one.label) for one in ranked])
    try:
        how, accuracy = body["preprocess"], body.get("accuracy")
        preprocess = Preprocess(
            int(how["resize"]), int(how["crop"]), str(how["channels"]),
            _three(how["mean"]), _three(how["std"]),
        )  # fmt: skip
        published = accuracy and PublishedAccuracy(float(accuracy["top1"]), float(accuracy["top5"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise SetupError(f"{url}: does not describe its model as a vgg-serve does.") from exc
    manifest = ServedManifest(model.name, model.title, preprocess, published or None)
    precision = body.get("precision")
    graph = ServedGraph(
        answer.trained, answer.weights_sha256, None if precision is None else str(precision)
    )
    return manifest, graph, classes


def too_few(url: str, named: int, known: int) -> str:
    """Say what follows from an answer that does not name all classes."""
    return (
        f"{url}: names {named} of its {known} classes at most. Without the others, neither labels can"
        " be found nor NLL, Brier score and temperature be computed."
    )


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401 (JSON)
    red, green, blue = map(float, values)
    return red, green, blue
