"""Uploads that are refused without a request of ASGI get the answer of the middleware, and nothing else does."""

import json
import logging
import time
from contextlib import contextmanager

import httptools
import pytest

from app.web.keys import make_key
from tests.conftest import client_of, started_app

pytestmark = pytest.mark.anyio

ENVELOPE = "app.web.middleware.envelope"


@contextmanager
def busy(app):
    """Let the model have a run in progress that does not end."""
    device = app.state.models.get("colours").loaded.queue._devices[0]
    flight = device.begin(1e18, time.monotonic())  # so long that no second changes the answer
    yield
    device.end(flight, time.monotonic())


class Answer:
    """One answer, parsed."""

    def __init__(self, data):
        self.headers: dict[str, str] = {}
        self.body = b""
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()

    def on_header(self, name, value):
        assert name.decode() not in self.headers
        self.headers[name.decode()] = value.decode()

    def on_body(self, body):
        self.body += body


def scope_of(path="/predict", query="", method="POST", headers=()):
    """Make the scope of a request as uvicorn does."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in dict(headers).items()],
        "state": {},
    }


def without_what_differs(headers, body):
    """Leave out the time that a request took, and its id in the body if the server made it."""
    return {k: v for k, v in headers.items() if k not in {"server-timing", "x-request-id"}}, {
        k: v for k, v in body.items() if k != "request_id"
    }


COUNTERS = (
    'vgg_requests_total{code="503",model="colours",protocol="PROTOCOL"}',
    'vgg_rejected_total{reason="overloaded"}',
    'vgg_request_duration_seconds_count{model="colours",protocol="PROTOCOL"}',
)


def counts(metrics, protocol):
    """Read the counters of refused photos."""
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines())
    return [float(lines.get(name.replace("PROTOCOL", protocol), "0")) for name in COUNTERS]


@pytest.fixture
def key():
    return make_key("alice")


@pytest.fixture
async def app(model_dir, session, key, tmp_path):
    """A service with keys and a limit for bodies."""
    path = tmp_path / "keys"
    path.write_text(key[1])
    settings = {"api_keys_file": path, "max_body_bytes": 5000, "queue_budget_ms": 2000}
    async with started_app(model_dir, session, **settings) as app:
        yield app


@pytest.fixture
def asked(key):
    """The headers of a client with a key."""
    return {"authorization": f"Bearer {key[0]}"}


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/predict", "", {}),
        ("/predict/", "", {}),
        ("/predict", "model=colours&top_k=3", {"content-length": "4000"}),
        ("/predict", "", {"x-request-id": "mine"}),
        ("/predict", "", {"x-request-id": "not sane"}),
        ("/predict", "", {"x-request-timeout-ms": "700"}),
        ("/predict", "", {"accept": "image/png"}),
        ("/predict", "", {"origin": "https://lab.example"}),
        ("/inspect", "", {}),
        ("/hf/colours", "", {}),
        ("/v1/models/colours:predict", "", {}),
    ],
)
async def test_answer_is_that_of_the_middleware(app, asked, caplog, path, query, headers):
    """Status, headers, problem, counters and the line in the log are the same."""
    headers = asked | headers
    async with client_of(app) as client:
        with caplog.at_level(logging.INFO, ENVELOPE), busy(app):
            before = (await client.get("/metrics", headers=asked)).text
            caplog.clear()
            url = f"{path}?{query}" if query else path
            length = int(headers.get("content-length", "0"))
            client.headers.clear()
            late = await client.post(url, content=b"x" * length, headers=headers)
            early = Answer(app.state.refusals.answer(scope_of(path, query, headers=headers), []))
            records = list(caplog.records)
            after = (await client.get("/metrics", headers=asked)).text

    said = [
        without_what_differs(late.headers, late.json()),
        without_what_differs(early.headers, json.loads(early.body)),
    ]
    ids = [late.headers["x-request-id"], early.headers["x-request-id"]]
    assert (503, 503) == (late.status_code, early.status)
    assert said[0] == said[1]
    assert set(late.headers) == set(early.headers)
    assert (ids[0] == ids[1]) == (headers.get("x-request-id") == "mine")
    assert ids == [late.json()["request_id"], json.loads(early.body)["request_id"]]
    lines = [(r.getMessage(), r.status, r.problem, r.key, r.levelno) for r in records]
    assert [(f"POST {path.rstrip('/')} 503", 503, "overloaded", "alice", logging.INFO)] * 2 == lines
    assert ids == [record.request_id for record in records]
    spoken = {"/hf/colours": "hf", "/v1/models/colours:predict": "kserve_v1"}.get(path, "predict")
    grown = zip(counts(before, spoken), counts(after, spoken), strict=True)
    assert [2, 2, 2] == [new - old for old, new in grown]


@pytest.mark.parametrize(
    "request_of",
    [
        {"method": "GET"},
        {"path": "/models"},
        {"path": "/hf/nobody"},
        {"path": "/predict//"},
        {"query": "model=nobody"},
        {"query": "topk=3"},
        {"headers": {"content-length": "6000"}},
        {"headers": {"x-request-timeout-ms": "soon"}},
        {"headers": {"sec-fetch-mode": "navigate"}},
        {"headers": {"authorization": "Bearer nobody's"}},
    ],
    ids=str,
)
async def test_anything_else_is_left_to_the_middleware(app, asked, caplog, request_of):
    """Other refusals, pages and other paths are neither answered nor logged here."""
    async with client_of(app) as client:
        with caplog.at_level(logging.INFO, ENVELOPE), busy(app):
            await client.post("/predict", headers=asked)
            caplog.clear()
            request_of = request_of | {"headers": asked | request_of.get("headers", {})}
            scope = scope_of(**request_of)
            path = scope["path"]
            answer = app.state.refusals.answer(scope, [])

    assert answer is None
    assert ({}, path) == (scope["state"], scope["path"])
    assert [] == caplog.records


async def test_nothing_is_refused_before_the_middleware_has_refused(app, asked):
    """A service that is not overloaded checks each request once."""
    with busy(app):
        assert app.state.refusals.answer(scope_of(headers=asked), []) is None


async def test_room_is_noticed(app, asked):
    """The first upload that the queue has room for again is left to the middleware, which admits it."""
    async with client_of(app) as client:
        with busy(app):
            await client.post("/predict", headers=asked)
            full = app.state.refusals.answer(scope_of(headers=asked), [])
        free = app.state.refusals.answer(scope_of(headers=asked), [])

    assert full is not None
    assert free is None


async def test_draining_is_left_to_the_middleware(app, asked):
    """Its answers end their connections."""
    async with client_of(app) as client:
        with busy(app):
            await client.post("/predict", headers=asked)
            app.state.draining.set()

            assert app.state.refusals.answer(scope_of(headers=asked), []) is None


async def test_where_other_origins_may_ask_all_is_left_to_the_middleware(model_dir, session):
    """It says in each answer which pages may read it."""
    origins = "https://lab.example"
    async with (
        started_app(model_dir, session, allowed_origins=origins) as app,
        client_of(app) as client,
    ):
        with busy(app):
            answer = await client.post("/predict", headers={"origin": origins})

            assert app.state.refusals.answer(scope_of(), []) is None

    assert origins == answer.headers["access-control-allow-origin"]
