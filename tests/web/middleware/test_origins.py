"""Requests from pages of other origins."""

import pytest

from app.web.keys import make_key
from app.web.protocols.oip.request import HEAD_LENGTH
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(make_key("alice")[1])
    return path


async def test_by_default_nobody_is_limited_and_no_origin_let_in(client):
    """By default there is no rate limit, and pages of other origins can read no answer."""
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
    """An allowed origin needs no key for its preflight, and can read every answer, errors too."""
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
    assert HEAD_LENGTH in allowed.headers["access-control-allow-headers"]
    assert HEAD_LENGTH in mine.headers["access-control-expose-headers"]
    assert "PUT" in allowed.headers["access-control-allow-methods"]  # for TorchServe's clients
    assert [401, 401] == [mine.status_code, other.status_code]
    assert ours == mine.headers["access-control-allow-origin"]
    assert "Retry-After" in mine.headers["access-control-expose-headers"]
    for answer in (refused, other):
        assert "access-control-allow-origin" not in answer.headers
    for answer in (allowed, mine):
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
