"""What a client asks before it sends photos."""

import pytest

from app.errors import NotReadyError
from tests.conftest import client_of, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


async def test_server_and_models_are_described(client):
    """The server, the list of models, and one of them, with its only version or without."""
    server = (await client.get("/v2")).json()
    listed = (await client.get("/v2/models")).json()
    model = await client.get("/v2/models/colours")
    version = await client.get("/v2/models/colours/versions/1")

    assert "vgg-serve" == server["name"]
    assert "binary_tensor_data" in server["extensions"]
    assert {"models": ["colours"]} == listed
    assert (200, "colours", ["1"]) == (
        model.status_code,
        model.json()["name"],
        model.json()["versions"],
    )
    assert model.json() == version.json()


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/colours/ready"]
)
async def test_server_that_answers_is_live_and_ready(client, path):
    """To GET and to HEAD."""
    assert [200, 200] == [
        (await client.get(path)).status_code,
        (await client.head(path)).status_code,
    ]


async def test_model_that_loads_is_not_ready(model_dir, session):
    """Its tensors are known, it is not ready, and its photos are refused with Retry-After."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        model = app.state.models.get("colours")
        model.loaded, loaded = None, model.loaded
        model.state = "loading"
        ready = await client.get("/v2/models/colours/ready")
        photo = await client.post("/v2/models/colours/infer", content=b"")
        known = await client.get("/v2/models/colours")
        index = await client.post("/v2/repository/index", json={"ready": True})
        server = await client.get("/v2/health/ready")
        model.loaded = loaded

    assert (503, "/problems/not-ready") == problem(ready) == problem(photo) == problem(server)
    assert str(NotReadyError.usual_wait) == photo.headers["retry-after"]
    assert 200 == known.status_code
    assert [] == index.json()


async def test_server_that_drains_is_not_ready(model_dir, session):
    """Neither it nor its models; they are alive."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        app.state.draining.set()
        paths = ("/v2/health/ready", "/v2/models/colours/ready")
        answers = [problem(await client.get(path)) for path in paths]
        live = await client.get("/v2/health/live")

    assert [(503, "/problems/draining")] * 2 == answers
    assert 200 == live.status_code


@pytest.mark.parametrize("end", ["", "/ready", "/config", "/stats"])
async def test_unknown_model_or_version_is_404(client, end):
    """The sentence says what there is."""
    model = await client.get(f"/v2/models/vgg99{end}")
    version = await client.get(f"/v2/models/colours/versions/2{end}")

    assert (404, "/problems/unknown-model") == problem(model) == problem(version)
    assert "colours" in model.json()["error"]
    assert "version, 1" in version.json()["error"]


async def test_statistics_are_of_one_model_or_of_all(client):
    """With its version or without; this server has one model."""
    one, version, every = [
        (await client.get(path)).json()
        for path in (
            "/v2/models/colours/stats",
            "/v2/models/colours/versions/1/stats",
            "/v2/models/stats",
        )
    ]

    assert one == version == every
    assert ["colours"] == [row["name"] for row in one["model_stats"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b'{"ready": true}', 200),
        (b"[]", 400),
        (b"x", 400),
        (bytes(5000), 413),
    ],
)
async def test_index_reads_a_short_question(client, body, status):
    """No more than that comes into memory."""
    answer = await client.post("/v2/repository/index", content=body)

    assert status == answer.status_code
    if status == 200:
        assert [
            {"name": "colours", "version": "1", "state": "READY", "reason": ""}
        ] == answer.json()
