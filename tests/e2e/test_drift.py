"""A service tells on /metrics that its photos have become darker, whichever process answered them."""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw
from prometheus_client.parser import text_string_to_metric_families

from app.serving.drift.windows import LEAST
from app.weights.manifests.baseline import ADVISED
from app.weights.manifests.catalog import BUILT_IN
from tests.conftest import REPOSITORY, running_server

CLIENTS = 6
DARKER = 600
NAVIGATES = {"sec-fetch-mode": "navigate", "accept": "text/html"}


def photo(number, *, darker=False):
    """Draw a photo that is unlike the others: some coloured shapes; half as bright if wanted."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", (80, 64), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for left, top in rng.integers(0, 60, (6, 2)).tolist():
        corner = (left + 4 + rng.integers(40), top + 4 + rng.integers(40))
        draw.ellipse((left, top, *corner), fill=tuple(rng.integers(0, 256, 3).tolist()))
    if darker:
        image = image.point(lambda value: value // 2)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def metric(client, name):
    """Return the samples of a metric, by the values of their labels but the model's."""
    text = client.get("/metrics").text
    return {
        tuple(
            value for label, value in sorted(sample.labels.items()) if label != "model"
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model folder with the small model and a baseline of drawn photos, which the command wrote."""
    folder = tmp_path_factory.mktemp("drift")
    (folder / "photos" / "0").mkdir(parents=True)
    for number in range(ADVISED):
        (folder / "photos" / "0" / f"{number}.png").write_bytes(photo(number))
    models = folder / "models"
    models.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    command = [sys.executable, "-m", "app", "evaluate", folder / "photos", "--model", "vgg16-mini"]
    ended = subprocess.run(
        [*command, "--baseline", models / "drawn.json"],
        cwd=REPOSITORY,
        env=environment | {"VGG_MODEL_DIR": str(models)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "chance" not in ended.stderr
    manifest = (BUILT_IN / "vgg16-mini.toml").read_text()
    (models / "vgg16-mini.toml").write_text(f'baseline = "drawn.json"\n{manifest}')
    return models


def test_darker_photos_drift(models):
    """Two processes answer. Usual photos stay below 0.1; after 600 darker ones it is above 0.25.

    An answer says that its photo is unusual, in JSON and in words on a page; others say nothing. Crops of a
    test do not count.
    """
    with (
        running_server(models, models="vgg16-mini", front_processes="2") as server,
        ThreadPoolExecutor(CLIENTS) as pool,
        ExitStack() as opened,
    ):
        clients = [opened.enter_context(httpx.Client(base_url=server.url)) for _ in range(CLIENTS)]

        def post(number, **how):
            answer = clients[number % CLIENTS].post("/predict", content=photo(number, **how))
            return answer.raise_for_status().json()

        answers = [*pool.map(post, range(2000, 2000 + LEAST - 1))]
        few = metric(clients[0], "vgg_drift_psi")
        answers.append(post(2000 + LEAST - 1))
        before = metric(clients[0], "vgg_drift_psi")
        [unusual] = metric(clients[0], "vgg_unusual_total").values()
        [*pool.map(lambda number: post(number, darker=True), range(4000, 4000 + DARKER))]
        after = metric(clients[0], "vgg_drift_psi")
        counted = metric(clients[0], "vgg_images_total")
        buckets = metric(clients[0], "vgg_image_brightness_bucket")
        found = [2000 + place for place, answer in enumerate(answers) if "unusual" in answer]
        odd = photo(found[0])
        boxed = clients[0].post("/predict?explain=box", content=odd).json()
        page = clients[0].post("/predict", content=odd, headers=NAVIGATES).text
        known = metric(clients[0], "vgg_unusual_total")
        crops = clients[0].post("/predict?test=ten-crop", content=odd).json()
        then = metric(clients[0], "vgg_unusual_total")

    assert 6 == len(few)
    assert all(np.isnan(value) for value in few.values())
    assert max(before.values()) < 0.1
    assert after["brightness",] > 0.25
    assert LEAST + DARKER == counted["colour", "png"] == buckets["+Inf",]
    assert unusual == len(found) < 0.04 * LEAST
    assert {True} == {answer["unusual"] for answer in answers if "unusual" in answer}
    assert boxed["unusual"] is True
    assert "This photo is unlike those the model knows." in page
    assert (10, known) == (crops["crops"], then)


def test_a_baseline_of_other_weights_is_left_aside(models, tmp_path):
    """The log says how to make it again, and no index is told; a damaged one ends the start."""
    content = json.loads((models / "drawn.json").read_text())
    path = tmp_path / "vgg16-mini.baseline.json"
    path.write_text(json.dumps(content | {"weights_sha256": "0" * 64}))
    with (
        running_server(tmp_path, models="vgg16-mini") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert {} == metric(client, "vgg_drift_psi")
        assert any("its baseline is of other weights" in one["event"] for one in server.events)
    path.write_text(json.dumps(content | {"photos": 7}))
    with pytest.raises(
        AssertionError, match="photos: Input should be greater than or equal to 100"
    ):
        running_server(tmp_path, models="vgg16-mini").__enter__()
