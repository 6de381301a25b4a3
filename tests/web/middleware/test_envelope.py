"""Ids, safe headers and log lines."""

import json
import logging

import pytest

from app.web.keys import make_key
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


async def test_unhandled_exception_is_logged_with_the_request(model_dir, session, caplog):
    """The client gets 500 without details; the log has the method, the path and the traceback."""

    async def broken():
        raise ZeroDivisionError("secret")

    async with started_app(model_dir, session) as app, client_of(app) as client:
        app.add_api_route("/broken", broken)
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/broken", headers={"x-request-id": "one"})

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (500, "/problems/internal") == problem(answer)
    assert "secret" not in answer.text
    assert "unhandled exception: GET /broken" == record.getMessage()
    assert "one" == record.__dict__["request_id"]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/docs"), ("GET", "/static/style.css"), ("GET", "/models"),
     ("GET", "/openapi.json"), ("GET", "/nothing"), ("DELETE", "/predict"), ("POST", "/predict"),
     ("GET", "/metrics"), ("GET", "/static/nothing"), ("HEAD", "/healthz")],
)  # fmt: skip
async def test_every_answer_carries_safe_headers(client, method, path):
    """Pages, files, errors and answers all have the security headers."""
    headers = (await client.request(method, path)).headers

    assert "nosniff" == headers["x-content-type-options"]
    assert "no-referrer" == headers["referrer-policy"]
    assert "same-origin" == headers["cross-origin-opener-policy"]
    assert "same-origin" == headers["cross-origin-resource-policy"]
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_one_line_in_the_log_a_request(client, caplog):
    """A request is one log event with its id, status and sizes, and without content."""
    with caplog.at_level(logging.INFO, logger="app.web.middleware.envelope"):
        await client.post("/predict", content=png(), headers={"x-request-id": "one"})

    [record] = [r for r in caplog.records if getattr(r, "request_id", "") == "one"]
    assert ("POST /predict 200", 200) == (record.getMessage(), record.status)
    assert (48, 40, "png", len(png())) == (
        record.width,
        record.height,
        record.format,
        record.bytes,
    )
    assert "tench" not in json.dumps(record.__dict__, default=str)


async def test_control_characters_stay_out_of_the_log(client, caplog):
    """A path can neither start a log line nor move a terminal's cursor."""
    with caplog.at_level(logging.INFO, logger="app.web.middleware.envelope"):
        await client.get("/%0A12:00:00%20forged%1b[31m")

    assert "\n" not in caplog.records[-1].getMessage()
    assert "\x1b" not in caplog.records[-1].getMessage()


async def test_every_answer_of_predict_has_its_time(client):
    """Answers to every method of /predict have Server-Timing; answers of other paths do not."""
    methods = ("POST", "GET", "HEAD", "OPTIONS", "PUT")
    answers = [await client.request(method, "/predict", content=png()) for method in methods]
    answers.append(await client.get("/models"))

    assert [True] * 5 + [False] == ["server-timing" in answer.headers for answer in answers]


async def test_only_a_post_is_counted(client):
    """A request with another method to /predict is no upload and is not counted."""
    await client.post("/predict", content=png())
    before = counts((await client.get("/metrics")).text)
    await client.put("/predict", content=png())

    assert before
    assert before == counts((await client.get("/metrics")).text)


FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({"accept": FIREFOX}, True),
        ({"accept": FIREFOX.upper()}, True),
        ({"accept": "application/xhtml+xml"}, True),
        ({"accept": "a/b, application/xhtml+xml ; q=0.5"}, True),
        ({"accept": "*/*", "sec-fetch-mode": "navigate"}, True),
        ({"sec-fetch-mode": "navigate"}, True),
        ({"accept": FIREFOX, "sec-fetch-mode": "navigate"}, True),
        ({"accept": FIREFOX, "sec-fetch-mode": "cors"}, False),
        ({"accept": FIREFOX, "sec-fetch-mode": "same-origin"}, False),
        ({"accept": FIREFOX, "sec-fetch-mode": "no-cors"}, False),
        ({"accept": JAVA}, False),
        ({"accept": "text/html"}, False),
        ({"accept": "text/html, */*"}, False),
        ({"accept": "text/html; q=1.0, text/*; q=0.8"}, False),
        ({"accept": "application/json"}, False),
        ({"accept": "*/*"}, False),
        ({}, False),
        ({"accept": ""}, False),
        ({"accept": "application/xhtml+xml;q=0"}, False),
        ({"accept": "application/xhtml+xml; a=b ;Q = 0.000, */*"}, False),
        ({"accept": "text/html;q=0, application/xhtml+xml"}, False),
        ({"accept": "text/html;q=0", "sec-fetch-mode": "navigate"}, False),
        ({"accept": "x-application/xhtml+xml"}, False),
        ({"accept": ";;;,,,q=;=,/;q=nan\xff\x00"}, False),
        ({"accept": ",".join(["text/html;q=;;"] * 2000)}, False),
        ({"accept": "application/xhtml+xml;q=high"}, True),
    ],
)
async def test_page_is_for_browsers_that_navigate(client, headers, page):
    """Answers and errors are pages for them, and JSON for every other client."""
    del client.headers["accept"]
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    answers = [
        await client.post("/predict", content=png(), headers=headers),
        await client.post("/predict", content=b"no image", headers=headers),
        await client.post("/predict?topk=1", content=png(), headers=headers),
    ]

    assert [200, 415, 422] == [answer.status_code for answer in answers]
    for answer in answers:
        kind = answer.headers["content-type"].partition(";")[0]
        assert page == (kind == "text/html")
        assert page != kind.endswith("json")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/models/", 200), ("/models/colours/", 200), ("/healthz/", 200), ("/readyz/", 200),
     ("/metrics/", 200), ("/docs/", 200), ("/predict/", 405), ("/healthz//", 404)],
)  # fmt: skip
async def test_one_slash_at_the_end_is_ignored(client, path, status):
    """A path with a slash is the path without it."""
    assert status == (await client.get(path)).status_code


async def test_slash_opens_nothing(model_dir, session, tmp_path):
    """A path that needs a key needs one with a slash, too."""
    keys = tmp_path / "keys"
    keys.write_text(make_key("alice")[1])
    async with (
        started_app(model_dir, session, api_keys_file=keys) as app,
        client_of(app) as client,
    ):
        answers = [
            await client.post("/predict/", content=png()),
            await client.get("/metrics/"),
            await client.post("/predict//", content=png()),
            await client.get("/models/"),
        ]

    assert [401, 401, 401, 200] == [answer.status_code for answer in answers]


def counts(metrics):
    """The lines of the answers' counter."""
    return [line for line in metrics.splitlines() if line.startswith("vgg_requests_total")]
