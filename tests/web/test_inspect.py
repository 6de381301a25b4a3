"""POST /inspect and GET /models/{name}/filters, on the trained model in the box."""

import base64
import io
import os

import httpx
import pytest
from PIL import Image

from app.web.keys import make_key
from tests.conftest import PHOTOS, client_of, png, running_server, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio
CHELSEA = (PHOTOS / "chelsea.jpg").read_bytes()
GROUPS = ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]


@pytest.fixture
def mini(mini_server):
    with httpx.Client(base_url=mini_server.url, timeout=60) as client:
        yield client


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_layer_has_its_maps_and_their_sheet(mini):
    """16 maps, a tile for each on a grey sheet, and what the strongest values saw of the photo."""
    answer = mini.post("/inspect?layer=conv3_3", content=CHELSEA).json()

    assert ("vgg16-mini", True) == (answer["model"]["name"], answer["model"]["trained"])
    assert {"width": 451, "height": 300, "format": "jpeg"} == answer["image"]
    assert ("conv3_3", 96, 16, 4) == tuple(
        answer[name] for name in ("layer", "channels", "tile", "columns")
    )
    assert 16 == len(answer["maps"])
    sheet = picture(answer["png"])
    assert ("PNG", "L", (64, 64)) == (sheet.format, sheet.mode, sheet.size)
    view = answer["view"]
    for one in answer["maps"]:
        assert {"channel", "maximum", "receptive_field"} == set(one)
        box = one["receptive_field"]
        assert view["xmin"] <= box["xmin"] < box["xmax"] <= view["xmax"] <= 451
        assert view["ymin"] <= box["ymin"] < box["ymax"] <= view["ymax"] <= 300


def test_without_a_layer_each_group_is_shown(mini):
    """The last convolution of each group, in order; a form is the same request as the file alone."""
    raw = mini.post("/inspect", content=CHELSEA)
    form = mini.post("/inspect", files={"file": ("x.jpg", CHELSEA, "image/jpeg")})

    assert GROUPS == [one["layer"] for one in raw.json()["layers"]]
    assert [64, 32, 16, 8, 4] == [one["tile"] for one in raw.json()["layers"]]
    assert raw.content == form.content


def test_a_picture_for_those_who_ask_for_one(mini):
    """The sheet of a layer, or an overview of the groups, large enough for people."""
    accept = {"accept": "image/png"}
    one = mini.post("/inspect?layer=conv5_3", content=CHELSEA, headers=accept)
    all_groups = mini.post("/inspect", content=CHELSEA, headers=accept)

    assert ["image/png"] * 2 == [a.headers["content-type"] for a in (one, all_groups)]
    assert "Accept" == one.headers["vary"]
    assert (456, 456) == Image.open(io.BytesIO(one.content)).size
    assert (16 * 130, 5 * 130) == Image.open(io.BytesIO(all_groups.content)).size


def test_an_unknown_layer_is_answered_with_those_there_are(mini):
    """A fully connected layer has no maps either."""
    for layer in ("fc6", "conv9_9", "CONV1_1", "\u0000"):
        answer = mini.post("/inspect", params={"layer": layer}, content=CHELSEA)
        assert (422, "/problems/unknown-parameter") == problem(answer)
        assert "It has conv1_1, conv1_2, pool1, conv2_1" in answer.json()["detail"]


def test_its_parameters_are_its_own(mini):
    """top_k belongs to another path, and a mistyped name is corrected."""
    assert "There are model and layer." in mini.post("/inspect?top_k=1").json()["detail"]
    assert "Did you mean 'layer'?" in mini.post("/inspect?layers=a").json()["detail"]
    assert "unknown parameter 'layer'" in mini.post("/predict?layer=conv1_1").json()["detail"]


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 415), (b"no photo", 415), (CHELSEA[:900], 422)]
)
def test_bad_files_get_the_problems_of_predict(mini, content, status):
    """The same sentences, whichever path the file was sent to."""
    inspected = mini.post("/inspect", content=content)
    predicted = mini.post("/predict", content=content)

    assert status == inspected.status_code
    both = [answer.json() | {"request_id": ""} for answer in (inspected, predicted)]
    assert both[0] == both[1]


def test_looks_are_counted(mini):
    """A look is in the metrics of its model, and its time in the header."""
    before = count(mini)
    answer = mini.post("/inspect?layer=pool1", content=CHELSEA)

    assert before + 1 == count(mini)
    assert {"decode", "run", "total"} == {
        part.split(";")[0] for part in answer.headers["server-timing"].split(", ")
    }


def count(client):
    lines = client.get("/metrics").text.splitlines()
    line = next((one for one in lines if one.startswith('vgg_requests_total{code="200"')), "x 0")
    return float(line.split()[-1])


def test_filters_are_a_picture_that_may_be_kept(mini):
    """24 filters, eight a row; who has them already gets 304."""
    answer = mini.get("/models/vgg16-mini/filters")

    assert ("image/png", 200) == (answer.headers["content-type"], answer.status_code)
    assert (8 * 50, 3 * 50) == Image.open(io.BytesIO(answer.content)).size
    assert "max-age" in answer.headers["cache-control"]
    again = mini.get(
        "/models/vgg16-mini/filters", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (304, b"") == (again.status_code, again.content)
    assert (200, b"") == (
        (head := mini.head("/models/vgg16-mini/filters")).status_code,
        head.content,
    )
    assert 404 == mini.get("/models/nope/filters").status_code


async def test_a_ready_graph_cannot_be_looked_into(client):
    """Nothing is known of the layers of somebody's ONNX file, and the answer says so."""
    for answer in (
        await client.post("/inspect", content=png()),
        await client.post("/inspect?layer=conv1_1", content=png()),
        await client.get("/models/colours/filters"),
    ):
        assert 422 == problem(answer)[0]
        assert "Only networks of the VGG family" in answer.json()["detail"]


async def test_it_can_be_switched_off(model_dir, session):
    """403 with a sentence that names the setting, before the photo is read."""
    async with (
        started_app(model_dir, session, inspect=False) as app,
        client_of(app) as client,
    ):
        answers = (
            await client.post("/inspect", content=png()),
            await client.get("/models/colours/filters"),
        )
        assert 200 == (await client.post("/predict", content=png())).status_code

    for answer in answers:
        assert (403, "/problems/forbidden") == problem(answer)
        assert "VGG_INSPECT=false" in answer.json()["detail"]


async def test_both_need_a_key(model_dir, session, tmp_path):
    """Where there are keys, nobody looks inside without one."""
    key, line = make_key("alice")
    (tmp_path / "keys").write_text(line)
    async with (
        started_app(model_dir, session, api_keys_file=tmp_path / "keys") as app,
        client_of(app) as client,
    ):
        assert 401 == (await client.post("/inspect", content=png())).status_code
        assert 401 == (await client.get("/models/colours/filters")).status_code
        headers = {"authorization": f"Bearer {key}"}
        assert 422 == (await client.get("/models/colours/filters", headers=headers)).status_code


async def test_a_look_takes_a_token(model_dir, session):
    """The rate limit counts photos, whatever they are sent for."""
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=1) as app,
        client_of(app) as client,
    ):
        assert 422 == (await client.post("/inspect", content=png())).status_code
        assert 429 == (await client.post("/predict", content=png())).status_code


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_fronts_look_inside_as_well(tmp_path, mini):
    """With processes in front of the models, and decoders apart, the answers are the same."""
    expected = mini.post("/inspect", content=CHELSEA).json()
    with (
        running_server(
            tmp_path, models="vgg16-mini", front_processes="2", decode_isolation="process"
        ) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        while client.get("/readyz").status_code != 200:
            pass
        answers = [client.post("/inspect", content=CHELSEA) for _ in range(4)]
        filters = client.get("/models/vgg16-mini/filters")

    assert [200] * 4 == [answer.status_code for answer in answers]
    assert expected == answers[0].json()
    assert filters.content == mini.get("/models/vgg16-mini/filters").content
