"""POST /predict?test=: ten crops or the whole photo, over HTTP, on the trained model in the box."""

import io
import os

import httpx
import numpy as np
import pytest
from PIL import Image

from app.runtime.dense_session import open_dense
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import (
    PHOTOS,
    client_of,
    png,
    running_server,
    started_app,
    write_colours,
)
from tests.web.answers import problem

CHELSEA = (PHOTOS / "chelsea.jpg").read_bytes()


def write_png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small model without a margin, so that crops can be posted as they are; a ready graph."""
    folder = tmp_path_factory.mktemp("models")
    manifest = (BUILT_IN / "vgg16-mini.toml").read_text().replace("resize = 68", "resize = 64")
    (folder / "vgg16-mini.toml").write_text(manifest)
    (folder / "vgg16-mini.safetensors").symlink_to(BUILT_IN / "vgg16-mini.safetensors")
    write_colours(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with running_server(folder, ready=False, models="vgg16-mini,colours") as server:
        server.wait_for("vgg16-mini: ready")
        server.wait_for("colours: ready")
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def row_of(answer):
    """Return the probabilities of all classes, in their order."""
    assert 200 == answer.status_code, answer.text
    ranked = sorted(answer.json()["predictions"], key=lambda one: one["class_index"])
    return np.array([one["probability"] for one in ranked])


def test_ten_crops_are_ten_requests_averaged(client):
    """Corners and centre of a square of 73 pixels, which is 256 of 224 for a crop of 64; and mirrored."""
    photo = noise(73, 73)
    places = [(0, 0), (0, 9), (9, 0), (9, 9), (4, 4)]
    crops = [photo[y : y + 64, x : x + 64] for y, x in places]
    crops += [one[:, ::-1] for one in crops]
    each = [row_of(client.post("/predict?top_k=202", content=write_png(one))) for one in crops]

    answer = client.post("/predict?top_k=202&test=ten-crop", content=write_png(photo))

    np.testing.assert_allclose(np.mean(each, axis=0), row_of(answer), atol=1e-6)
    body = answer.json()
    assert ("ten-crop", 73, 10) == (body["test"], body["scale"], body["crops"])
    assert "positions" not in body
    assert {"width": 73, "height": 73, "format": "png"} == body["image"]


def test_a_dense_answer_is_that_of_the_graph(client, folder):
    """All of a photo that is not square, at each position; a form is the same request as the file."""
    manifest, labels = load_catalog(folder)["vgg16-mini"], load_labels("vgg16-mini", folder)
    [graph] = (folder / "serving" / "vgg16-mini").glob("*/graph.onnx")
    network = network_of(manifest, labels)
    assert network is not None
    photo = noise(73, 211)
    expected = open_dense(graph, network, manifest.preprocess, 1).classify(photo)

    answer = client.post("/predict?top_k=202&test=dense", content=write_png(photo))
    form = client.post("/predict?top_k=202&test=DENSE", files={"file": write_png(photo)})

    np.testing.assert_allclose(expected.probabilities, row_of(answer), atol=1e-6)
    body = answer.json()
    assert ("dense", 73, 2 * 1 * 5) == (body["test"], body["scale"], body["positions"])
    assert form.content == answer.content
    stages = answer.headers["server-timing"]
    assert {"decode", "run", "total"} == {part.split(";")[0] for part in stages.split(", ")}


def test_a_ready_graph_takes_ten_crops_alone(client):
    """Nothing is known of its layers, but its crops are like any others."""
    dense = client.post("/predict?model=colours&test=dense", content=png("blue"))
    crops = client.post("/predict?model=colours&test=ten-crop&top_k=1", content=png("blue"))

    assert (422, "/problems/unknown-parameter") == problem(dense)
    assert "colours is a ready ONNX graph" in dense.json()["detail"]
    assert [2] == [one["class_index"] for one in crops.json()["predictions"]]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("test=", "The value is empty. There are ten-crop and dense"),
        (
            "test=multi-scale",
            "unknown. There are ten-crop and dense; `vgg-serve evaluate` has more",
        ),
        ("test=dense&explain=box", "cannot be combined with explain"),
        ("test=ten-crop&classes=1", "cannot be combined with classes"),
        ("Test=dense", "Did you mean 'test'?"),
    ],
)
def test_what_cannot_be_asked_is_told(client, query, sentence):
    """422, each with a sentence that says what to do."""
    answer = client.post(f"/predict?{query}", content=CHELSEA)

    assert (422, "/problems/unknown-parameter") == problem(answer)
    assert sentence in answer.json()["detail"]


def test_several_photos_are_refused(client):
    """A test of each would take too long for one request."""
    files = [("file", CHELSEA), ("file", CHELSEA)]
    answer = client.post("/predict?test=ten-crop", files=files)

    assert 422 == problem(answer)[0]
    assert "one photo a request, and this one has 2" in answer.json()["detail"]


def test_a_panorama_is_refused_as_a_whole(client):
    """20 : 1 is beyond the limit, which the problem names; its ten crops are answered."""
    strip = write_png(noise(64, 1280))
    dense = client.post("/predict?test=dense", content=strip)

    assert (422, "/problems/image-too-large") == problem(dense)
    assert {"width": 1280, "height": 64, "max_ratio": 8} == dense.json()["limit"]
    assert 200 == client.post("/predict?test=ten-crop", content=strip).status_code


@pytest.mark.parametrize("test", ["dense", "ten-crop"])
def test_bad_files_and_deadlines_get_the_usual_problems(client, test):
    """Damaged, not a photo, no time left."""
    address, hurry = f"/predict?test={test}", {"X-Request-Timeout-Ms": "1"}

    assert (422, "/problems/image-corrupt") == problem(client.post(address, content=CHELSEA[:900]))
    assert (415, "/problems/unsupported-format") == problem(client.post(address, content=b"none"))
    late = client.post(address, content=CHELSEA, headers=hurry)
    assert problem(late)[0] in {503, 504}


def test_a_page_for_a_form_without_javascript(client):
    """It has the classes, and no box."""
    headers = {"sec-fetch-mode": "navigate", "accept": "text/html"}
    answer = client.post("/predict?test=dense&top_k=2", content=CHELSEA, headers=headers)

    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert 2 == answer.text.count("<meter")


def test_it_is_described(client):
    """The parameter with its values, and an example of the answer."""
    operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    [parameter] = [one for one in operation["parameters"] if one["name"] == "test"]

    assert ["ten-crop", "dense"] == parameter["schema"]["enum"]
    examples = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert "dense" == examples["tested"]["value"]["test"]


@pytest.mark.anyio
async def test_a_test_takes_the_tokens_of_its_images(model_dir, session):
    """Ten crops are ten photos for the rate limit, which the next photo has to wait for."""
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=10) as app,
        client_of(app) as client,
    ):
        assert 200 == (await client.post("/predict?test=ten-crop", content=png())).status_code
        assert 429 == (await client.post("/predict", content=png())).status_code


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_fronts_answer_tests_as_well(client, folder):
    """With processes in front of the models, and decoders apart, the answers are the same."""
    queries = [f"/predict?top_k=202&test={test}" for test in ("dense", "ten-crop")]
    expected = [row_of(client.post(query, content=CHELSEA)) for query in queries]
    with (
        running_server(
            folder, models="vgg16-mini", front_processes="2", decode_isolation="process"
        ) as fronts,
        httpx.Client(base_url=fronts.url, timeout=60) as front,
    ):
        while front.get("/readyz").status_code != 200:
            pass
        for query, row in zip(queries, expected, strict=True):
            np.testing.assert_allclose(row, row_of(front.post(query, content=CHELSEA)), atol=1e-6)
