"""What an answer of HTTP means: a record, or an error."""

import json
import pickle

import pytest

from app.client.answer import Box, Heat, Prediction
from app.client.errors import ProblemError, StrangerError
from app.client.reply import Reply, to_answer, to_model, to_models, to_ready
from app.client.retries import is_passing
from tests.cli.predict.conftest import BODY, PREDICTIONS, problem


def reply(status: int, content: bytes = b"<html>", *, with_key: bool = False, **headers: str):
    named = {"Content-Type": "text/html"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply("http://server", status, "Reason", named, content, with_key=with_key)


def read(status: int, content: bytes = b"<html>", *, with_key: bool = False, **headers: str):
    return to_answer(reply(status, content, with_key=with_key, **headers))


def refused(
    status: int, content: bytes = b"<html>", *, with_key: bool = False, **headers: str
) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        read(status, content, with_key=with_key, **headers)
    return caught.value


def test_an_answer_becomes_a_record():
    """Predictions, image and model are those of the server; what a newer one adds is in the body."""
    body = BODY | {"new": 1, "image": {"width": 3, "height": 2, "format": "jpeg", "new": 1}}
    timing = "decode;dur=1.50, run;dur=20.00"
    answer = read(
        200, json.dumps(body).encode(), X_Request_ID="a1", Server_Timing=timing, X_Batch_Size="4"
    )

    assert Prediction(1, "cat", 0.75, "n02123045", 281) == answer.best == answer.predictions[0]
    assert ("vgg16", "57", True, 3) == (
        answer.model,
        answer.weights_sha256,
        answer.trained,
        answer.image.width,
    )
    assert ("a1", {"decode": 0.0015, "run": 0.02}, 4) == (
        answer.request_id,
        answer.seconds,
        answer.batch_size,
    )
    assert 1 == answer.body["new"]


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
    answer = read(200, json.dumps(BODY | {"predictions": [row]}).encode())

    assert answer.best.wnid is None


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000,
     json.dumps(BODY | {"predictions": [{"rank": "x"}]}).encode(),
     json.dumps(BODY | {"predictions": []}).encode(), b'{"models": [1], "status": "?"}',
     json.dumps(BODY | {"model": None}).encode(), json.dumps(BODY | {"image": 5}).encode()],
)  # fmt: skip
def test_nonsense_is_not_from_a_vgg_serve(content):
    """Whatever another service answers with 200, it is said that it is another."""
    for read_it in (to_answer, to_model, to_models, to_ready):
        with pytest.raises(
            StrangerError, match=r"not a vgg-serve: it answered 200 Reason with text/html"
        ):
            read_it(reply(200, content))


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (502, True), (503, True), (504, False), (408, False)]
)  # fmt: skip
@pytest.mark.parametrize("content", [b"<html>", problem(503, "overloaded", "The server is busy")])
def test_who_asks_for_time_gets_it(status, again, content):
    """A server, or a proxy before it, is asked again, when it wants."""
    error = refused(status, content, Retry_After="7")

    assert (7.0, status, again) == (error.retry_after, error.status, is_passing(error))


def test_500_is_tried_again_only_if_no_vgg_serve_answered_it():
    """A proxy answers so, Ray's for one, when its server ends in the middle."""
    assert is_passing(refused(500, b"Internal Server Error"))
    assert not is_passing(refused(500, problem(500, "run-failed")))


@pytest.mark.parametrize(
    ("status", "content", "title", "sentence"),
    [
        (422, problem(422, "image-corrupt"), "Title", "422 image-corrupt: Detail."),
        (404, problem(404, "unknown-model"), "Title", "404 unknown-model: Detail."),
        (500, problem(500, "run-failed", request_id="a1"), "Title", "500 run-failed: Detail. (request a1)"),
        (500, b"<html>", "500 Reason", "500: The server answered 500 Reason."),
        (422, problem(422, "new", title=5), "422 Reason", "422 new: Detail."),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_problem_has_the_sentence_of_the_server(status, content, title, sentence):
    """Its status, its type and its detail, and by which name the log has it."""
    error = refused(status, content)

    assert (title, sentence) == (error.title, str(error))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (sentence, error.type, status) == (str(again), again.type, again.status)


@pytest.mark.parametrize(
    ("content", "limit"),
    [(problem(413, "body-too-large", limit={"bytes": 1000}), {"bytes": 1000}), (b"<html>", {}),
     (problem(413, "body-too-large", limit=5), {})],
)  # fmt: skip
def test_the_limit_is_learned(content, limit):
    """A vgg-serve says its limit, a proxy does not."""
    assert limit == refused(413, content).limit


@pytest.mark.parametrize(
    ("headers", "with_key", "said"),
    [({}, False, "or in the variable VGG_API_KEY"), ({}, True, "does not know this API key")],
)
def test_without_a_key_it_is_said_how_to_give_one(headers, with_key, said):
    """Where the server has no sentence of its own."""
    assert said in refused(401, b"<html>", with_key=with_key, **headers).detail


def test_a_server_that_starts_is_not_ready():
    """503 is no; anything else that is not vgg-serve's own yes is another server."""
    assert to_ready(reply(200, b'{"status": "ready", "models": []}'))
    assert not to_ready(reply(503, problem(503, "not-ready")))
    with pytest.raises(StrangerError):
        to_ready(reply(200, b'{"status": "UP"}'))


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (404, {}, "not a vgg-serve"),
        (405, {}, "not a vgg-serve"),
        (301, {"Location": "https://there/predict"}, "redirects to https://there/predict"),
        (403, {}, "refuses this client"),
        (407, {}, "The proxy"),
        (401, {"WWW_Authenticate": 'Basic realm="x"'}, "https://NAME:PASSWORD@HOST"),
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
    answer = read(200, json.dumps(explained(box=CORNERS, evidence_in_box=0.5)).encode())

    assert Heat(2, 2, (0, 0.5, 1, 0.25)) == answer.best.heat
    assert (Box(1, 0, 3, 2), Box(1, 0, 3, 2), 0.5) == (
        answer.view,
        answer.best.box,
        answer.best.evidence_in_box,
    )
    assert read(200, json.dumps(explained(box=None)).encode()).best.box is None
    assert read(200, json.dumps(explained(heat=None)).encode()).best.heat is None
    assert read(200, json.dumps(BODY).encode()).view is None


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
    """Nothing is drawn from it, and nothing large is made of it; the status is known nevertheless."""
    with pytest.raises(StrangerError) as caught:
        read(200, json.dumps(explained(**row)).encode())

    assert 200 == caught.value.status
