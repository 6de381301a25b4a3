"""Boxes from a real server on a real socket: the trained network in the box, synthetic photos."""

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.serving.batching.explaining import MOST
from tests.conftest import PHOTOS, running_server
from tests.e2e.fronts import fronted_server
from tests.images.turned import turned

INSIDE = ("xmin", "ymin", "xmax", "ymax")
ESPRESSO = 194
TINY = """
name = "tiny"
title = "Weights that never saw a photo"
architecture = { configuration = "A", width = 0.05, side = 32, hidden = [8, 8] }
labels = "imagenet-1k"
license = "MIT"
trained = false
[checkpoint]
format = "safetensors"
file = "tiny.safetensors"
[preprocess]
resize = 36
crop = 32
channels = "RGB"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
"""


@contextmanager
def serving(folder, **settings):
    """Start a service of the small model that answers wherever a client connects."""
    settings = {"models": "vgg16-mini"} | settings
    start = fronted_server if settings.get("front_processes") == "2" else running_server
    with start(folder, **settings) as server:
        yield server


def cup_on_black(size, place, side):
    """Paint a photo of one cup of coffee, square, on black; place is its left upper corner."""
    photo = Image.new("RGB", size)
    cup = Image.open(PHOTOS / "coffee.jpg").convert("RGB")
    edge = min(cup.size)
    left, top = (cup.width - edge) // 2, (cup.height - edge) // 2
    cup = cup.crop((left, top, left + edge, top + edge)).resize((side, side))
    photo.paste(cup, place)
    return photo


def encoded(photo, kind="JPEG", **options):
    data = io.BytesIO()
    photo.save(data, kind, **options)
    return data.getvalue()


def explain(url, data, query="top_k=1&explain=box,evidence,heat"):
    answer = httpx.post(f"{url}/predict?{query}", content=data, timeout=60)
    assert 200 == answer.status_code, answer.text
    return answer.json()


def edges(box):
    return tuple(box[name] for name in INSIDE)


def overlap(box, other):
    """Return the share of two boxes, as corners, that is common to both: intersection over union."""

    def area(one):
        return max(0, one[2] - one[0]) * max(0, one[3] - one[1])

    common = area((*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:])))
    return common / (area(box) + area(other) - common)


@pytest.mark.parametrize("place", [(60, 40), (200, 40), (60, 150), (200, 150)])
def test_the_box_is_where_the_object_is(mini_server, place):
    """A cup on black has its middle in the box, and most of the box is on its side of the photo."""
    photo = cup_on_black((400, 300), place, 140)
    query = f"top_k=1&explain=box&classes={ESPRESSO}"
    [asked] = explain(mini_server.url, encoded(photo), query)["asked"]
    xmin, ymin, xmax, ymax = edges(asked["box"])

    assert xmin <= place[0] + 70 <= xmax
    assert ymin <= place[1] + 70 <= ymax


@pytest.mark.parametrize("centre", [(100, 60), (200, 150), (260, 80), (150, 220)])
def test_the_box_contains_a_bright_disk_on_black(mini_server, centre):
    """Whatever it is taken for, there is nothing else to see."""
    x, y = centre
    photo = Image.new("RGB", (400, 300))
    ImageDraw.Draw(photo).ellipse((x - 40, y - 40, x + 40, y + 40), fill=(255, 220, 60))
    xmin, ymin, xmax, ymax = edges(
        explain(mini_server.url, encoded(photo, "PNG"))["predictions"][0]["box"]
    )

    assert xmin <= x - 40 < x + 40 <= xmax
    assert ymin <= y - 40 < y + 40 <= ymax


@pytest.fixture(scope="module")
def upright(mini_server):
    """The answer about a cup in an upright photo, and the photo."""
    photo = cup_on_black((400, 300), (200, 150), 140)
    return photo, explain(mini_server.url, encoded(photo, quality=95))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_that_is_stored_sideways_has_the_same_box(mini_server, upright, orientation):
    """Its pixels are turned upright, so its box is where the upright photo has it."""
    photo, expected = upright
    answer = explain(mini_server.url, turned(photo, orientation, "JPEG", quality=95))

    assert expected["view"] == answer["view"]
    wanted, found = (edges(one["predictions"][0]["box"]) for one in (expected, answer))
    assert overlap(wanted, found) > 0.9


def test_a_photo_that_is_decoded_at_a_smaller_scale_has_its_box_in_its_own_pixels(
    mini_server, upright
):
    """A JPEG of ten times the size is decoded at an eighth of it; the box is ten times as large."""
    photo, expected = upright
    answer = explain(mini_server.url, encoded(photo.resize((4000, 3000)), quality=95))

    assert (4000, 3000) == (answer["image"]["width"], answer["image"]["height"])
    wanted = [10 * edge for edge in edges(expected["predictions"][0]["box"])]
    assert overlap(wanted, edges(answer["predictions"][0]["box"])) > 0.85


@pytest.mark.parametrize("size", [(6000, 60), (60, 6000), (61, 60), (32, 320)])
def test_a_photo_of_any_shape_has_a_box_within_its_view(mini_server, size):
    """A ribbon is seen in its middle, and boxes end there."""
    photo = Image.effect_noise(size, 90).convert("RGB")
    answer = explain(mini_server.url, encoded(photo, "PNG"))
    view = edges(answer["view"])

    assert 0 <= view[0] < view[2] <= size[0]
    assert 0 <= view[1] < view[3] <= size[1]
    assert abs(view[0] + view[2] - size[0]) <= 2
    box = answer["predictions"][0]["box"]
    if box is not None:
        xmin, ymin, xmax, ymax = edges(box)
        assert view[0] <= xmin < xmax <= view[2]
        assert view[1] <= ymin < ymax <= view[3]


@pytest.mark.parametrize(
    "settings",
    [
        {"front_processes": "2"},
        {"decode": "exact"},
        {"decode_isolation": "process"},
        {"conv": "direct"},
        {"max_batch_size": "4"},
    ],
)
def test_however_it_serves_the_answer_is_the_same(tmp_path, upright, settings):
    """Other processes, decoders and plans find the box at the same place."""
    photo, expected = upright
    with serving(tmp_path, **settings) as server:
        answer = explain(server.url, encoded(photo, quality=95))
        refused = httpx.post(f"{server.url}/predict?explain=box&classes=unicorn", content=b"x")
        metrics = httpx.get(f"{server.url}/metrics").text

    [wanted], [found] = expected["predictions"], answer["predictions"]
    assert wanted["class_index"] == found["class_index"]
    assert (expected["view"], expected["explanation"]) == (answer["view"], answer["explanation"])
    assert overlap(edges(wanted["box"]), edges(found["box"])) > 0.85
    assert pytest.approx(wanted["evidence_in_box"], abs=0.1) == found["evidence_in_box"]
    assert pytest.approx(np.array(wanted["heat"]["values"]), abs=0.15) == found["heat"]["values"]
    assert 422 == refused.status_code
    assert 'vgg_explained_images_total{model="vgg16-mini"} 1.0' in metrics


def test_untrained_weights_are_not_explained(tmp_path):
    """Boxes are null, the answer says why, and the model says how it would explain."""
    (tmp_path / "tiny.toml").write_text(TINY)
    with serving(tmp_path, models="tiny", on_missing_weights="untrained") as server:
        answer = explain(server.url, encoded(Image.new("RGB", (64, 64), "red")))
        model = httpx.get(f"{server.url}/models/tiny").json()

    assert not answer["model"]["trained"]
    [row] = answer["predictions"]
    assert (None, None, None) == (row["box"], row["evidence_in_box"], row["heat"])
    assert "never seen a photo" in answer["explanation"]["withheld"]
    assert "conv5_2" == model["explanation"]["layer"]


def test_a_stand_in_explains_for_the_model_that_is_not_there(tmp_path, upright):
    """The answer names who looked, as a plain one does."""
    photo, expected = upright
    with serving(tmp_path, models="vgg16", stand_in="vgg16-mini", offline="true") as server:
        answer = explain(server.url, encoded(photo, quality=95))

    assert "vgg16" == answer["model"].pop("stands_in_for")
    assert expected["model"] == answer["model"]
    wanted, found = (edges(one["predictions"][0]["box"]) for one in (expected, answer))
    assert overlap(wanted, found) > 0.85


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_explained_and_plain_requests_share_the_batches(tmp_path, fronts):
    """Of 80 requests at a time half are explained: each has its own answer, the plain ones' bytes."""
    places = [(60 + 35 * n, 60 + 20 * n) for n in range(4)]
    photos = [encoded(cup_on_black((400, 300), place, 120)) for place in places]
    settings = {"max_batch_size": "4", "front_processes": fronts, "queue_budget_ms": "25000"}
    with serving(tmp_path, **settings) as server:
        plain = [httpx.post(f"{server.url}/predict", content=data).json() for data in photos]
        alone = [explain(server.url, data, "explain=box,evidence") for data in photos]
        jobs = [(n % 4, n % 2) for n in range(80)]

        def post(job):
            number, explained = job
            query = "?explain=box,evidence" if explained else ""
            return httpx.post(f"{server.url}/predict{query}", content=photos[number], timeout=60)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(post, jobs))
        metrics = httpx.get(f"{server.url}/metrics").text

    assert [200] * 80 == [answer.status_code for answer in answers]
    for (number, explained), answer in zip(jobs, answers, strict=True):
        body, reference = answer.json(), (alone if explained else plain)[number]
        assert set(reference) == set(body)
        for row, wanted in zip(body["predictions"], reference["predictions"], strict=True):
            assert set(wanted) == set(row)
            assert wanted["class_index"] == row["class_index"]
            assert pytest.approx(wanted["probability"], abs=1e-4) == row["probability"]
            if explained:
                assert overlap(edges(wanted["box"]), edges(row["box"])) > 0.9
    assert 'vgg_explained_images_total{model="vgg16-mini"} 44.0' in metrics


def test_the_most_that_one_request_may_ask_is_a_small_answer(mini_server):
    """Twenty classes with everything: the limit on classes is one on the bytes too."""
    query = f"top_k=5&explain=box,evidence,heat&classes={','.join(map(str, range(100, 115)))}"
    photo = encoded(cup_on_black((400, 300), (100, 100), 120))
    answer = httpx.post(f"{mini_server.url}/predict?{query}", content=photo)

    assert 200 == answer.status_code
    assert MOST == len(answer.json()["predictions"]) + len(answer.json()["asked"])
    assert len(answer.content) < 20_000 * MOST
