"""GET /models and GET /models/{name}."""

import pytest

from tests.conftest import client_of, started_app

pytestmark = pytest.mark.anyio


async def test_models_lists_what_is_served(client):
    """GET /models names each model, its state and whether it is trained."""
    answer = (await client.get("/models")).json()

    expected = {
        "name": "colours",
        "title": "Tells three colours apart",
        "default": True,
        "state": "ready",
        "trained": False,
        "classes": 1000,
        "temperature": 1.0,
        "stands_in_for": None,
    }
    assert {"models": [expected]} == answer


async def test_a_temperature_is_never_silent(model_dir, session):
    """Both say which one divides the logits."""
    manifest = model_dir / "colours.toml"
    manifest.write_text(manifest.read_text().replace("[pre", "temperature = 1.07\n[pre"))
    async with started_app(model_dir, session) as app, client_of(app) as client:
        [listed] = (await client.get("/models")).json()["models"]
        shown = (await client.get("/models/colours")).json()

    assert [1.07, 1.07] == [listed["temperature"], shown["temperature"]]


async def test_head_works_where_get_does(client):
    """HEAD has the head of GET's answer, for the list and for one model."""
    for path in ("/models", "/models/colours"):
        head, get = await client.head(path), await client.get(path)
        assert (200, b"") == (head.status_code, head.content)
        assert get.headers["content-length"] == head.headers["content-length"]
    assert 404 == (await client.head("/models/nobody")).status_code


async def test_model_shows_what_a_run_costs(client):
    """GET /models/{name} shows the batch sizes and their measured and fitted cost."""
    batching = (await client.get("/models/colours")).json()["batching"]

    assert 1 == batching["sizes"][0]
    assert {str(size) for size in batching["sizes"]} == set(batching["seconds"])
    assert batching["seconds_per_image"] >= 0
    assert batching["seconds_per_run"] >= 0


async def test_vgg_model_shows_its_layer_table(model_dir, session):
    """The layer table of a VGG adds up to the published number of parameters."""
    async with (
        started_app(model_dir, session, models="vgg16", offline=True) as app,
        client_of(app) as client,
    ):
        model = (await client.get("/models/vgg16")).json()

    assert ("failed", "D") == (model["state"], model["configuration"])
    assert 138_357_544 == model["parameters"]
    assert 138_357_544 == sum(layer["parameters"] for layer in model["layers"])
    convolutions = [layer for layer in model["layers"] if layer["kind"] == "convolution"]
    assert [(3, 1)] * 13 == [(layer["kernel"], layer["stride"]) for layer in convolutions]


async def test_stand_in_claims_no_accuracy(model_dir, session):
    """Untrained weights are not shown with the accuracy of the trained ones."""
    manifest = model_dir / "colours.toml"
    accuracy = '[accuracy]\ntop1 = 71.6\ntop5 = 90.4\nsource = "somebody"\n'
    manifest.write_text(f"{manifest.read_text()}{accuracy}")
    async with started_app(model_dir, session) as app, client_of(app) as client:
        model = (await client.get("/models/colours")).json()

    assert (False, None) == (model["trained"], model["accuracy"])
