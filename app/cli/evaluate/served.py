"""What a server says about one of its models: names of classes, preprocessing, digest, precision."""

from dataclasses import dataclass
from typing import Any, Final

from app.client.answer import Answer, Model
from app.client.blocking import Client
from app.client.errors import ClientError
from app.client.photo import open_photo
from app.evaluation.classes import Classes
from app.evaluation.paper import SINGLE, PaperTest
from app.images.paper_views import TestName
from app.records import Label, Preprocess
from app.setup_errors import SetupError

_TOP_K: Final = "top_k"
"""Name of the limit of classes in a problem."""
_TESTS: Final[tuple[TestName, ...]] = ("single", "ten-crop", "dense")
"""Tests that a server knows, at the scale that it chooses."""


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
    temperature: float = 1.0  # of servers that do not say it


@dataclass(frozen=True, slots=True)
class ServedGraph:
    """What GET /models/NAME says of the weights; digest and precision are the server's words."""

    trained: bool
    weights_sha256: str
    precision: str | None


def served_test(option: str, test: str, scales: str | None) -> TestName:
    """Return the test that a server is asked for.

    Args:
        option: That named it, for the sentence.
        test: As the user wrote it.
        scales: `--scales`, which have to be left out.

    Raises:
        SetupError: If servers do not know it.
    """
    if test not in _TESTS:
        raise SetupError(
            f"{option}: the test is {test!r}, and a server has {', '.join(_TESTS)}. The others are for a"
            " model of this machine."
        )
    if scales is not None:
        raise SetupError(f"{option}: a server tests at a scale of its own. Leave out --scales.")
    return _TESTS[_TESTS.index(test)]


def question(test: TestName) -> dict[str, str]:
    """Return the parameters of POST /predict that ask for a test."""
    return {} if test == SINGLE.name else {"test": test}


def probe(client: Client, name: str | None, test: TestName) -> tuple[Answer, PaperTest]:
    """Have a grey photo classified for all classes: their names are in no description.

    Returns:
        The answer, and the test with the server's scale.

    Raises:
        ClientError: If there is no answer.
        SetupError: If it does not name all classes, or is none of this test.
    """
    grey = open_photo(memoryview(bytes([127]) * 256 * 256).cast("B", (256, 256))).file.read()
    first = client.classify(grey, model=name, top_k=1)
    known = client.model(first.model).classes
    try:
        answer = client.classify(grey, model=name, top_k=known, parameters=question(test))
    except ClientError as exc:
        if _TOP_K in exc.limit:
            raise SetupError(too_few(client.url, int(exc.limit[_TOP_K]), known)) from exc
        raise
    indices = {one.class_index for one in answer.predictions}
    if indices != set(range(known)):
        raise SetupError(too_few(client.url, len(indices), known))
    if test == SINGLE.name:
        return answer, SINGLE
    if answer.body.get("test") != test:
        raise SetupError(f"{client.url}: does not know the test {test}: its vgg-serve is older.")
    return answer, PaperTest(test, (int(answer.body["scale"]),))


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
        temperature = float(body.get("temperature", 1.0))
        published = accuracy and PublishedAccuracy(float(accuracy["top1"]), float(accuracy["top5"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise SetupError(f"{url}: does not describe its model as a vgg-serve does.") from exc
    manifest = ServedManifest(model.name, model.title, preprocess, published or None, temperature)
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
