"""API keys, in this process."""

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
    """POST /predict needs the key; no key, another, another scheme or two keys get 401."""
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
    """Probes, the page, the description and /models need no key; every other path needs one."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        answer = await client.get(path)

    assert (200 if open_to_all else 401) == answer.status_code


async def test_holder_is_in_the_log_and_the_key_is_not(model_dir, session, key, keys_file, caplog):
    """The log names the holder of the key and never has the key."""
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
