"""API keys and other origins, in this process."""

import pytest

from app.web.keys import make_key
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio


@pytest.fixture
def key():
    return make_key("alice")


@pytest.fixture
def keys_file(key, tmp_path):
    path = tmp_path / "keys"
    path.write_text(key[1])
    return path


def bearer(key):
    return {"authorization": f"Bearer {key}"}


async def test_only_a_key_lets_in(model_dir, session, key, keys_file):
    """POST /predict wants the key; none, another, another scheme or two of them are 401."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        wrong = [
            {},
            bearer("vgg_wrong"),
            bearer(""),
            bearer(key[1]),
            {"authorization": f"Basic {key[0]}"},
            {"authorization": key[0]},
            [("authorization", f"Bearer {key[0]}"), ("authorization", "Bearer x")],
        ]
        refused = [await client.post("/predict", content=png(), headers=h) for h in wrong]
        passed = [
            await client.post("/predict", content=png(), headers=h)
            for h in (bearer(key[0]), {"authorization": f"bearer {key[0]}"})
        ]

    for answer in refused:
        assert (401, "/problems/unauthorized") == (answer.status_code, answer.json()["type"])
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "Authorization: Bearer" in answer.json()["detail"]
    assert [200, 200] == [answer.status_code for answer in passed]


@pytest.mark.parametrize(
    ("path", "open_to_all"),
    [
        ("/", True), ("/static/style.css", True), ("/docs", True), ("/openapi.json", True),
        ("/docs/assets/swagger-ui.css", True), ("/healthz", True), ("/readyz", True),
        ("/models", True), ("/models/colours", True),
        ("/metrics", False), ("/nothing", False), ("/predict", False), ("/modelsx", False),
    ],
)  # fmt: skip
async def test_what_is_open_is_listed(model_dir, session, keys_file, path, open_to_all):
    """Probes, the page, the description and /models need no key; whatever else there is, does."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        answer = await client.get(path)

    assert (200 if open_to_all else 401) == answer.status_code


async def test_description_declares_the_keys_where_there_are_some(model_dir, session, keys_file):
    """With keys /openapi.json has their scheme and 401 beside what needs one; else neither."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        with_keys = (await client.get("/openapi.json")).json()
    async with started_app(model_dir, session) as app, client_of(app) as client:
        without = (await client.get("/openapi.json")).json()

    assert {"key": "bearer"} == {
        name: scheme["scheme"]
        for name, scheme in with_keys["components"]["securitySchemes"].items()
    }
    secured = {
        path
        for path, operations in with_keys["paths"].items()
        for operation in operations.values()
        if operation.get("security") and "401" in operation["responses"]
    }
    assert {"/predict", "/metrics"} == secured
    assert "securitySchemes" not in without["components"]
    assert "401" not in without["paths"]["/predict"]["post"]["responses"]


async def test_holder_is_in_the_log_and_the_key_is_not(model_dir, session, key, keys_file, caplog):
    """An operator can see whose request it was; nobody can take a key out of a log."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        with caplog.at_level("DEBUG"):
            await client.post("/predict", content=png(), headers=bearer(key[0]))
            await client.post("/predict", content=png(), headers=bearer("vgg_wrong"))

    lines = [record for record in caplog.records if "POST /predict" in record.getMessage()]
    assert ["alice", None] == [getattr(record, "key", None) for record in lines]
    assert key[0] not in str([record.__dict__ for record in caplog.records])
    assert "vgg_wrong" not in str([record.__dict__ for record in caplog.records])


async def test_by_default_nobody_is_limited_and_no_origin_let_in(client):
    """A benchmark from one address is no attack, and a page of another origin reads nothing."""
    answers = [
        await client.post("/predict", content=png(), headers={"origin": "https://example.org"})
        for _ in range(30)
    ]
    preflight = await client.options(
        "/predict",
        headers={"origin": "https://example.org", "access-control-request-method": "POST"},
    )

    assert {200} == {answer.status_code for answer in answers}
    assert 405 == preflight.status_code
    for answer in (*answers, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_origins_that_are_named_may_read(model_dir, session, keys_file):
    """A named origin gets its preflight without a key, and can read every answer, errors too."""
    ours, theirs = "https://lab.example", "https://evil.example"
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    async with (
        started_app(
            model_dir, session, api_keys_file=keys_file, allowed_origins=f"{ours}, http://x:1"
        ) as app,
        client_of(app) as client,
    ):
        allowed, refused = [
            await client.options("/predict", headers={"origin": origin, **asks})
            for origin in (ours, theirs)
        ]
        mine, other = [
            await client.post("/predict", content=png(), headers={"origin": origin})
            for origin in (ours, theirs)
        ]

    assert [204, 204] == [allowed.status_code, refused.status_code]
    assert ours == allowed.headers["access-control-allow-origin"]
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    assert [401, 401] == [mine.status_code, other.status_code]
    assert ours == mine.headers["access-control-allow-origin"]
    assert "Retry-After" in mine.headers["access-control-expose-headers"]
    for answer in (refused, other):
        assert "access-control-allow-origin" not in answer.headers
    for answer in (allowed, mine):
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
