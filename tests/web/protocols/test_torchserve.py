"""/predictions/{model} and /ping, as clients of TorchServe use them."""

import pytest

from app.records import Label, Prediction
from app.web.protocols.torchserve import by_label
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


async def test_the_answer_is_a_flat_object(client):
    """Labels with their probabilities, the best first."""
    answer = await client.post("/predictions/colours", content=png("lime"))
    rows = (await client.post("/predict", content=png("lime"))).json()["predictions"]

    assert [(one["label"], one["probability"]) for one in rows] == [*answer.json().items()]


@pytest.mark.parametrize("name", ["data", "body", "file"])
async def test_the_photo_may_be_in_a_form(client, name):
    """As with `curl -F data=@photo.jpg`."""
    raw = await client.post("/predictions/colours", content=png())
    form = await client.post("/predictions/colours", files={name: png()})

    assert raw.json() == form.json()


async def test_put_is_limited_and_counted_as_post_is(client):
    """`curl -T` sends PUT; elsewhere photos cannot be put."""
    put = await client.put("/predictions/colours?top_k=1", content=png())
    wrong = await client.put("/predictions/colours", content=b"no image")
    elsewhere = await client.put("/hf/colours", content=png())
    metrics = (await client.get("/metrics")).text

    assert (200, 415, 405) == (put.status_code, problem(wrong)[0], problem(elsewhere)[0])
    for code in (200, 415):
        line = f'vgg_requests_total{{code="{code}",model="colours",protocol="torchserve"}} 1.0'
        assert line in metrics


@pytest.mark.parametrize(("version", "status"), [("1", 200), ("1.0", 200), ("2", 404), ("x", 404)])
async def test_there_is_one_version(client, version, status):
    """Its number is 1, or 1.0 as TorchServe writes it."""
    for method in ("POST", "PUT"):
        answer = await client.request(method, f"/predictions/colours/{version}", content=png())

        assert status == answer.status_code


async def test_unknown_models_and_parameters(client):
    """They get the problems of POST /predict."""
    unknown = await client.post("/predictions/other", content=png())
    many = await client.post("/predictions/colours?top_k=1001", content=png())
    version = await client.post("/predictions/other/1", content=png())

    assert [404, 400, 404] == [problem(answer)[0] for answer in (unknown, many, version)]


async def test_ping_follows_readiness(model_dir, session):
    """Healthy while it can answer, and a problem once it drains."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        ready = await client.get("/ping")
        app.state.draining.set()
        draining = await client.get("/ping")

    assert (200, {"status": "Healthy"}) == (ready.status_code, ready.json())
    assert (503, "/problems/draining") == problem(draining)


def test_classes_with_the_same_label_are_told_apart():
    """Both cranes are there, each with its id, also if only one of them is in the answer."""
    labels = [
        Label("n1", "crane"),
        Label("n2", "tabby"),
        Label("n3", "crane"),
        Label(None, "tabby"),
    ]
    rows = [
        Prediction(rank, one.text, 0.1, one.wnid, index)
        for rank, (index, one) in enumerate(enumerate(labels), 1)
    ]

    assert ["crane (n1)", "tabby (n2)", "crane (n3)", "tabby (3)"] == [*by_label(rows, labels)]
    assert ["crane (n3)"] == [*by_label(rows[2:3], labels)]
    assert ["tabby"] == [*by_label(rows[1:2], labels[:3])]
