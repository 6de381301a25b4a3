"""What an answer means for a photo and for all others."""

import json
from pathlib import Path

import pytest

from app.cli.files import Trouble
from app.cli.predict.answers import Answer, Later, StrangerError, TooLarge, read_answer
from app.cli.predict.result import FileResult
from app.records import Prediction
from app.setup_errors import SetupError
from tests.cli.predict.conftest import BODY, PREDICTIONS, problem

PATH = Path("a.jpg")


def read(status: int, content: bytes = b"<html>", *, with_key: bool = False, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(
        "http://server", status, "Reason", {"Content-Type": "text/html"} | named, content
    )
    return read_answer(PATH, answer, with_key=with_key)


def test_an_answer_becomes_a_result():
    """Predictions, image and model are those of the server, further fields are left."""
    body = BODY | {"new": 1, "image": {"width": 3, "height": 2, "format": "jpeg", "new": 1}}
    result = read(200, json.dumps(body).encode())

    assert Prediction(1, "cat", 0.75, "n02123045", 281) == result.predictions[0]
    assert ("vgg16", True, 3) == (result.model, result.trained, result.image.width)


def test_int8_is_read():
    """A server that computes in whole numbers says so; one that does not says nothing."""
    model = BODY["model"] | {"precision": "int8"}  # type: ignore[operator]

    assert "int8" == read(200, json.dumps(BODY | {"model": model}).encode()).precision
    assert read(200, json.dumps(BODY).encode()).precision is None


def test_a_stand_in_is_read():
    """A server whose model is not there says which one answered in its place."""
    model = BODY["model"] | {"stands_in_for": "vgg16"}  # type: ignore[operator]

    assert "vgg16" == read(200, json.dumps(BODY | {"model": model}).encode()).stands_in_for
    assert read(200, json.dumps(BODY).encode()).stands_in_for is None


def test_classes_without_a_wordnet_id_are_read():
    """Another classifier's classes have none."""
    row = {"rank": 1, "label": "rust", "probability": 1, "wnid": None, "class_index": 0}
    result = read(200, json.dumps(BODY | {"predictions": [row]}).encode())

    assert result.predictions[0].wnid is None


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000,
     json.dumps(BODY | {"predictions": [{"rank": "x"}]}).encode(),
     json.dumps(BODY | {"model": None}).encode(), json.dumps(BODY | {"image": 5}).encode()],
)  # fmt: skip
def test_nonsense_is_not_from_a_vgg_serve(content):
    """Whatever another service answers with 200, it is said that it is another."""
    with pytest.raises(
        StrangerError, match=r"not a vgg-serve: it answered 200 Reason with text/html"
    ):
        read(200, content)


@pytest.mark.parametrize(
    ("status", "client", "lost"),
    [(429, True, False), (503, False, False), (502, False, False), (504, False, True), (408, False, True)],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"<html>", problem(503, "overloaded", "The server is busy")])
def test_who_asks_for_time_gets_it(status, client, lost, content):
    """A server, or a proxy before it, is asked again, when it wants."""
    later = read(status, content, Retry_After="7")

    assert isinstance(later, Later)
    assert (7.0, client, lost) == (later.seconds, later.client, later.lost)


@pytest.mark.parametrize(
    ("status", "content", "kind", "sentence"),
    [
        (422, problem(422, "image-corrupt"), "Title", "Detail."),
        (415, problem(415, "unsupported-format"), "Title", "Detail."),
        (500, problem(500, "run-failed"), "Title", "Detail."),
        (500, b"<html>", "500 Reason", "The server answered 500 Reason."),
        (422, problem(422, "new", title=5), "422 Reason", "Detail."),  # type: ignore[arg-type]
    ],
)
def test_a_refused_photo_is_a_failure(status, content, kind, sentence):
    """The server's own sentence says why."""
    result = read(status, content)

    assert isinstance(result, FileResult)
    assert Trouble(kind, sentence) == result.trouble


@pytest.mark.parametrize(
    ("content", "most"),
    [(problem(413, "body-too-large", limit={"bytes": 1000}), 1000), (b"<html>", None),
     (problem(413, "body-too-large", limit=5), None)],
)  # fmt: skip
def test_the_limit_is_learned(content, most):
    """A vgg-serve says its limit, a proxy does not."""
    outcome = read(413, content)

    assert isinstance(outcome, TooLarge)
    assert most == outcome.most_bytes


@pytest.mark.parametrize(
    ("headers", "with_key", "said"),
    [
        ({}, False, "--key KEY, or in the variable VGG_API_KEY"),
        ({}, True, "does not know this API key"),
        ({"WWW_Authenticate": 'Bearer realm="x"'}, False, "wants an API key"),
        ({"WWW_Authenticate": 'Basic realm="x"'}, False, "https://NAME:PASSWORD@HOST"),
    ],
)
def test_without_a_key_nothing_goes_on(headers, with_key, said):
    """401 ends the command, with what to do."""
    with pytest.raises(SetupError, match=r".") as caught:
        read(401, problem(401, "unauthorized"), with_key=with_key, **headers)
    assert said in str(caught.value)


def test_an_unknown_model_ends_the_command():
    """No other photo would find it."""
    with pytest.raises(SetupError, match=r"Detail\."):
        read(404, problem(404, "unknown-model"))


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (404, {}, "not a vgg-serve"),
        (405, {}, "not a vgg-serve"),
        (301, {"Location": "https://there/predict"}, "redirects to https://there/predict"),
        (403, {}, "refuses this client"),
        (407, {}, "The proxy"),
    ],
)
def test_another_server_is_named_as_one(status, headers, said):
    """The sentence says what it answered."""
    with pytest.raises(StrangerError, match=said):
        read(status, **headers)


HEAT = {"rows": 2, "columns": 2, "values": [0, 0.5, 1, 0.25]}
CORNERS = {"xmin": 1, "ymin": 0, "xmax": 3, "ymax": 2}


def explained(**row):
    best = PREDICTIONS[0] | {"heat": HEAT} | row
    return BODY | {"view": CORNERS, "predictions": [best, PREDICTIONS[1]]}


def test_the_place_of_the_best_class_is_read():
    """Heat, box and view, as the server has them; a class that nothing speaks for has no box."""
    marks = read(200, json.dumps(explained(box=CORNERS)).encode()).marks

    assert [[0, 0.5], [1, 0.25]] == marks.heat.tolist()
    assert ((1, 0, 3, 2), (1, 0, 3, 2)) == (marks.view, marks.box)
    assert read(200, json.dumps(explained(box=None)).encode()).marks.box is None
    assert read(200, json.dumps(explained(heat=None)).encode()).marks is None
    assert read(200, json.dumps(BODY).encode()).marks is None


@pytest.mark.parametrize(
    "row",
    [
        {"heat": HEAT | {"rows": 3}},
        {"heat": HEAT | {"rows": 10**6, "columns": 10**6}},
        {"heat": HEAT | {"values": ["x"] * 4}},
        {"box": {"xmin": 1}},
        {"box": 5},
    ],
)
def test_a_place_that_makes_no_sense_is_not_from_a_vgg_serve(row):
    """Nothing is drawn from it, and nothing large is made of it."""
    with pytest.raises(StrangerError):
        read(200, json.dumps(explained(**row)).encode())


def test_a_parameter_that_the_server_does_not_take_is_the_same_for_all():
    """An older server, or a model that cannot explain: the first answer ends the command."""
    with pytest.raises(SetupError, match="Detail"):
        read(422, problem(422, "unknown-parameter"))
