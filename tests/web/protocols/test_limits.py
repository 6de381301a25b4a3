"""Whatever a client speaks, the same limits hold, and before the body of its request is read."""

import json
from base64 import b64encode

import pytest

from app.web.endpoints import PHOTO, Endpoint
from app.web.keys import make_key
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem
from tests.web.middleware.test_admission import Body, busy

pytestmark = pytest.mark.anyio

PATHS = [one.path.format(model="colours", version="1") for one in Endpoint if PHOTO in one.marks]


async def refused(app, **options):
    """Post to every path; return the statuses and whether any body was read, and the answers."""
    bodies = [Body() for _ in PATHS]
    async with client_of(app) as client:
        answers = [
            await client.post(path, content=body, **options)
            for path, body in zip(PATHS, bodies, strict=True)
        ]
    assert [False] * len(PATHS) == [body.was_read for body in bodies]
    return {problem(answer) for answer in answers}, answers


async def test_there_are_paths_of_several_protocols():
    """The tests below are about all that take photos."""
    assert {
        "/predict",
        "/hf/colours",
        "/predictions/colours/1",
        "/v1/models/colours:predict",
    } <= set(PATHS)


async def test_a_busy_server_refuses(model_dir, session):
    """503 with the time after which a retry is worth while."""
    async with started_app(model_dir, session) as app:
        with busy(app):
            kinds, answers = await refused(app)

    assert {(503, "/problems/overloaded")} == kinds
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert all("estimated wait" in answer.json()["error"] for answer in answers)


async def test_a_key_is_needed_where_there_are_keys(model_dir, session, tmp_path):
    """A token of another service is a calm 401."""
    file = tmp_path / "keys"
    file.write_text(make_key("alice")[1])
    headers = {"authorization": "Bearer hf_foreign"}
    async with started_app(model_dir, session, api_keys_file=file) as app:
        kinds, answers = await refused(app, headers=headers)

    assert {(401, "/problems/unauthorized")} == kinds
    assert all("Bearer" in answer.headers["www-authenticate"] for answer in answers)


async def test_a_large_body_is_refused_by_its_length(model_dir, session):
    """413 for what the header says."""
    async with started_app(model_dir, session) as app:
        kinds, _ = await refused(app, headers={"content-length": "1000000000"})

    assert {(413, "/problems/body-too-large")} == kinds


async def test_the_rate_is_one_for_all(model_dir, session):
    """A client that has spent its tokens with one protocol has none for another."""
    async with started_app(model_dir, session, rate_limit=0.001, rate_burst=1) as app:
        async with client_of(app) as client:
            await client.post("/hf/colours", content=png())
        kinds, _ = await refused(app)

    assert {(429, "/problems/rate-limited")} == kinds


async def test_a_deadline_that_cannot_be_is_refused(model_dir, session):
    """400 for a header with nonsense."""
    async with started_app(model_dir, session) as app:
        kinds, _ = await refused(app, headers={"x-request-timeout-ms": "soon"})

    assert {(400, "/problems/bad-request")} == kinds


async def test_a_deadline_holds(model_dir, session, client_gate):
    """504 once it has passed, whatever the protocol."""
    photo = png()
    async with started_app(model_dir, session) as app, client_of(app) as client:
        session.before_run = client_gate.wait
        headers = {"x-request-timeout-ms": "50"}
        paths = ("/predict", "/hf/colours", "/predictions/colours")
        answers = [await client.post(path, content=photo, headers=headers) for path in paths]
        several = [("file", photo), ("file", photo)]
        answers.append(await client.post("/predict", files=several, headers=headers))
        client_gate.set()

    assert {504} == {problem(answer)[0] for answer in answers}


LEAVING = sorted({*PATHS} - {"/inspect", "/hf/colours/boxes"})  # these refuse this model at once


async def leave(app, path, *messages):
    """Post these messages and hang up; return the status that is counted."""
    left = [*messages, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return left.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "client": ("::1", 1), "server": ("::1", 2),
             "http_version": "1.1", "scheme": "http", "root_path": ""}  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"]


def message(body, *, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("path", LEAVING)
async def test_a_client_that_leaves_its_upload_is_counted(model_dir, session, path):
    """It gets no answer, and nothing is kept of it."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        status = await leave(app, path, message(b"half", more=True))
        metrics = (await client.get("/metrics")).text

    assert 499 == status
    assert 'vgg_cancelled_total{stage="upload"} 1.0' in metrics
    assert "vgg_upload_bytes 0.0" in metrics


BODIES = {
    "/v1/": json.dumps({"instances": [b64encode(png()).decode()] * 3}).encode(),
    "/v2/": json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "data": [b64encode(png()).decode()],
                }
            ]
        }
    ).encode(),
}


@pytest.mark.parametrize("path", LEAVING)
async def test_a_client_that_leaves_while_it_waits_is_counted(
    model_dir, session, client_gate, path
):
    """By the stage of each of its photos, which is given up."""
    body = BODIES.get(path[:4], png())
    async with started_app(model_dir, session) as app, client_of(app) as client:
        session.before_run = client_gate.wait
        status = await leave(app, path, message(body))
        metrics = (await client.get("/metrics")).text
        client_gate.set()

    assert 499 == status
    assert 'vgg_cancelled_total{stage="upload"} 0.0' in metrics
    assert 'vgg_queue_depth{model="colours"} 0.0' in metrics
