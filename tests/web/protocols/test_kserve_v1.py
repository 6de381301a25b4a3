"""/v1/models/{model}, as clients of TensorFlow Serving and of KServe's V1 use it."""

from base64 import b64encode

import numpy as np
import pytest

from app.serving.many import MOST_IMAGES
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio

PREDICT = "/v1/models/colours:predict"
CLASSIFY = "/v1/models/colours:classify"


def b64(photo):
    return b64encode(photo).decode()


async def test_predict_returns_all_probabilities_of_each_photo(client):
    """In the order of the photos, whatever shape each has, and of the classes."""
    instances = [
        {"b64": b64(png("red"))},
        {"image_bytes": {"b64": b64(png("lime"))}, "key": "1"},
        b64(png("blue")),
        {"image/encoded": {"b64": b64(png("red"))}},
    ]
    answer = await client.post(PREDICT, json={"instances": instances, "signature_name": "x"})
    rows = np.array(answer.json()["predictions"])
    alone = (await client.post("/predict?top_k=1", content=png("red"))).json()["predictions"][0]

    assert [0, 1, 2, 0] == rows.argmax(axis=1).tolist()
    assert (4, 1000) == rows.shape
    assert pytest.approx(1, abs=1e-6) == rows[0].sum()
    assert np.float32(alone["probability"]) == np.float32(rows[0, 0])


@pytest.mark.parametrize("name", ["examples", "instances"])
async def test_classify_returns_pairs(client, name):
    """Five classes of each photo, the best first."""
    photos = [{"b64": b64(png("red"))}, {"b64": b64(png("blue"))}]
    answer = await client.post(CLASSIFY, json={name: photos})
    rows = (await client.post("/predict", content=png("blue"))).json()["predictions"]

    first, second = answer.json()["result"]
    assert "tench, Tinca tinca" == first[0][0]
    assert [[one["label"], one["probability"]] for one in rows] == second


@pytest.mark.parametrize("path", [PREDICT, CLASSIFY])
@pytest.mark.parametrize(
    ("instances", "status", "words"),
    [
        (None, 400, "a list of photos"),
        ([], 400, "a list of photos"),
        ({"b64": "x"}, 400, "a list of photos"),
        ([5], 400, "[0]: expected a photo"),
        ([{"b64": b64(png())}, {}], 400, "[1]: expected a photo"),
        ([{"b64": 5}], 400, "[0]: expected a photo"),
        ([{"a": {"b64": ""}, "b": {"b64": ""}}], 400, "[0]: expected a photo"),
        (["*"], 400, "[0]: this is not a photo in base64"),
        ([b64(png()), b64(b"no image")], 415, "instances[1]: "),
        ([b64(png()), b64(png()[:60])], 422, "instances[1]: "),
        (["AAAA"] * (MOST_IMAGES + 1), 400, "the limit is 64"),
    ],
)
async def test_instances_that_cannot_be(client, path, instances, status, words):
    """One that is wrong fails the request, and the error says which."""
    answer = await client.post(path, json={"instances": instances})

    assert status == problem(answer)[0]
    assert words in answer.json()["error"]


async def test_each_photo_costs_a_token_and_is_counted_under_its_protocol(model_dir, session):
    """As several photos of POST /predict do."""
    async with (
        started_app(model_dir, session, rate_limit=1, rate_burst=2) as app,
        client_of(app) as client,
    ):
        body = {"instances": [b64(png())] * 5}
        codes = [(await client.post(PREDICT, json=body)).status_code for _ in range(2)]
        metrics = (await client.get("/metrics")).text

    assert [200, 429] == codes
    assert 'vgg_requests_total{code="200",model="colours",protocol="kserve_v1"} 1.0' in metrics


async def test_a_model_shows_its_state_to_both(client):
    """`ready` for KServe, `model_version_status` for TensorFlow Serving."""
    one = (await client.get("/v1/models/colours")).json()
    every = (await client.get("/v1/models")).json()
    unknown = await client.get("/v1/models/other")

    status = {"version": "1", "state": "AVAILABLE"}
    assert ("colours", True) == (one["name"], one["ready"])
    assert status.items() <= one["model_version_status"][0].items()
    assert {"models": ["colours"]} == every
    assert (404, "/problems/unknown-model") == problem(unknown)


async def test_there_is_one_version(client):
    """The paths with version 1 are those without, and there is no other."""
    body = {"instances": [b64(png())]}
    for method, plain, content in (
        ("POST", ":predict", body),
        ("POST", ":classify", body),
        ("GET", "", None),
    ):
        one, other = [
            await client.request(method, f"/v1/models/colours/versions/{n}{plain}", json=content)
            for n in (1, 2)
        ]
        same = await client.request(method, f"/v1/models/colours{plain}", json=content)

        assert (200, same.json()) == (one.status_code, one.json())
        assert (404, "/problems/unknown-model") == problem(other)


async def test_a_model_that_cannot_answer_is_not_ready(model_dir, session):
    """Its weights are not there."""
    async with (
        started_app(model_dir, session, models="vgg16", offline=True) as app,
        client_of(app) as client,
    ):
        one = (await client.get("/v1/models/vgg16")).json()
        refused = await client.post("/v1/models/vgg16:predict", json={"instances": ["AAAA"]})

    assert (False, "END") == (one["ready"], one["model_version_status"][0]["state"])
    assert (503, "/problems/model-failed") == problem(refused)
