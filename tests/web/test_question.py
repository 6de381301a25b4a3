"""POST /predict with explain, classes and against, in this process, with a session that records."""

import io
import json

import pytest
from PIL import Image

from app.errors import RunFailedError
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem
from tests.web.explaining import KNOWN, SECOND

pytestmark = pytest.mark.anyio


def classes_of(answer):
    return [row["class_index"] for row in answer.json()["predictions"]]


async def test_a_box_comes_with_each_prediction(mini, explaining):
    """In pixels of the photo, with the view and the method; nothing else is added."""
    answer = await mini.post("/predict?top_k=2&explain=box", content=png(size=(136, 68)))
    body = answer.json()

    assert [KNOWN, SECOND] == classes_of(answer)
    assert [([0, 0], [[KNOWN], [SECOND]], [[-1], [-1]])] == explaining.asked
    assert {"model", "predictions", "image", "view", "explanation"} == set(body)
    assert {"xmin": 36, "ymin": 2, "xmax": 100, "ymax": 66} == body["view"]
    for row in body["predictions"]:
        assert {"rank", "label", "probability", "wnid", "class_index", "box"} == set(row)
        box = row["box"]
        assert (36, 2) == (box["xmin"], box["ymin"])
        assert 36 + 32 <= box["xmax"] <= 36 + 42
        assert all(type(value) is int for value in box.values())
    assert {"method", "layer", "threshold"} == set(body["explanation"])


async def test_evidence_and_heat(mini):
    """The share of what speaks for the class in the box, and numbers from 0 to 1, row by row."""
    answer = await mini.post("/predict?top_k=1&explain=heat,evidence", content=png())
    [row] = answer.json()["predictions"]

    assert 0.75 <= row["evidence_in_box"] <= 1
    assert (4, 4) == (row["heat"]["rows"], row["heat"]["columns"])
    assert [1, 1, 0, 0, 1, 1] + [0] * 10 == row["heat"]["values"]
    assert row["box"] is not None


async def test_heat_alone_has_no_box(mini):
    """What was not asked is absent."""
    answer = await mini.post("/predict?top_k=1&explain=HEAT", content=png())

    assert "heat" in answer.json()["predictions"][0]
    assert {"box", "evidence_in_box"}.isdisjoint(answer.json()["predictions"][0])


async def test_a_picture_is_waited_for_before_its_photo_is_classified(tmp_path, explaining):
    """Its drawing counts for the wait that others are told, from the start and not beside JSON."""
    async with (
        started_app(tmp_path, explaining, models="vgg16-mini") as app,
        client_of(app) as client,
    ):
        waits: list[float] = []
        decoders = app.state.classifier._decoders
        explaining.meanwhile = lambda: waits.append(decoders.backlog())
        for accept in ("application/json", "image/png"):
            answer = await client.post(
                "/predict?explain=heat", content=png(), headers={"Accept": accept}
            )
            assert accept == answer.headers["content-type"]

        assert 0.0 == waits[0] < waits[1]
        assert 0.0 == decoders.backlog()


async def test_nothing_seen_is_null(mini, explaining):
    """A map without any value above zero has no box."""
    explaining.empty = True
    answer = await mini.post("/predict?top_k=1&explain=box,evidence,heat", content=png())
    [row] = answer.json()["predictions"]

    assert (None, None) == (row["box"], row["evidence_in_box"])
    assert [0] * 16 == row["heat"]["values"]


async def test_other_classes_are_answered_too(mini, explaining):
    """By index, id and label, in the order of the question, with their rank of all classes."""
    query = f"top_k=1&explain=box&classes=n02123045,{SECOND},bullfrog,%20Rana%20catesbeiana,3"
    answer = await mini.post(f"/predict?{query}", content=png())
    asked = answer.json()["asked"]

    assert [30, SECOND, 2, 3] == [row["class_index"] for row in asked]
    assert [33, 2, 5, 6] == [row["rank"] for row in asked]
    assert all(row["box"] for row in asked)
    expected = [[KNOWN], [30], [SECOND], [2], [3]]
    assert [([0] * 5, expected, [[-1]] * 5)] == explaining.asked


async def test_classes_alone_explain_nothing(mini, explaining):
    """Their probabilities come with the run; the device does nothing more."""
    runs = len(explaining.sizes)
    answer = await mini.post("/predict?top_k=1&classes=3", content=png())

    assert {"model", "predictions", "image", "asked"} == set(answer.json())
    assert [3] == [row["class_index"] for row in answer.json()["asked"]]
    assert ([], runs + 1) == (explaining.asked, len(explaining.sizes))


async def test_a_class_against_another(mini, explaining):
    """Every class is compared with it, and the answer says so."""
    answer = await mini.post("/predict?top_k=1&explain=box&against=tabby", content=png())

    assert [([0], [[KNOWN]], [[30]])] == explaining.asked
    expected = {"label": "tabby, tabby cat", "wnid": "n02123045", "class_index": 30}
    assert expected == answer.json()["explanation"]["against"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("explain=", "explain: entry 1 is empty. There are box, evidence and heat"),
        ("explain=box,", "explain: entry 2 is empty"),
        ("explain=boxes", "explain: entry 1 is unknown"),
        ("explain=box,%3Cb%3E", "explain: entry 2 is unknown"),
        ("explain=box,BOX", "explain: box is there twice"),
        ("explain=box&explain=box", "explain: box is there twice"),
        ("classes=", "classes: entry 1 is empty"),
        ("classes=3,,4", "classes: entry 2 is empty"),
        ("classes=202", "the last index is 201"),
        ("classes=-1", "classes: entry 1 is no class of this model"),
        ("classes=3,unicorn", "classes: entry 2 is no class"),
        ("classes=tabb", "Similar are 30 (tabby, tabby cat)."),
        ("classes=3,n01641577,2", "classes: entries 2 and 3 are the same class"),
        ("classes=wagon", "entry 1 is a name of several classes: 71 ("),
        ("classes=30,TABBY", "entries 1 and 2 are the same class, 30 (tabby, tabby cat)"),
        ("classes=3&classes=3", "entries 1 and 2 are the same class"),
        (f"classes={','.join(map(str, range(21)))}", "classes: names too many classes"),
        (f"classes={'9,' * 9000}", "classes: names too many classes"),
        (f"explain=box&top_k=5&classes={','.join(map(str, range(16)))}", "at most 20"),
        ("explain=box&top_k=202", "at most 20 are explained"),
        ("against=3", "against: needs explain"),
        ("explain=box&against=", "against: the class is empty"),
        ("explain=box&against=3,4", "against: the class is no class"),
        ("explain=box&against=unicorn", "against: the class is no class"),
    ],
)
async def test_questions_that_cannot_be_answered(mini, explaining, query, sentence):
    """422 with a sentence that names the parameter and the entry, and nothing is run."""
    runs = len(explaining.sizes)
    answer = await mini.post(f"/predict?{query}", content=png())

    assert (422, "/problems/unknown-parameter") == problem(answer)
    assert sentence in answer.json()["detail"]
    assert "unicorn" not in answer.text
    assert "<b>" not in answer.text
    assert (runs, []) == (len(explaining.sizes), explaining.asked)


async def test_a_ready_graph_is_not_explained(client):
    """Its probabilities of other classes are known all the same."""
    refused = await client.post("/predict?explain=box", content=png())
    answer = await client.post("/predict?top_k=1&classes=2", content=png("blue"))

    assert (422, "/problems/unknown-parameter") == problem(refused)
    assert "is a ready ONNX graph" in refused.json()["detail"]
    assert [1] == [row["rank"] for row in answer.json()["asked"]]


async def test_an_explanation_that_fails_is_a_clear_error(mini, explaining):
    """500, and the next plain request is answered."""
    explaining.failure = RunFailedError("no")
    failed = await mini.post("/predict?explain=box", content=png())
    plain = await mini.post("/predict", content=png())

    assert (500, "/problems/run-failed") == problem(failed)
    assert "leave out 'explain'" in failed.json()["detail"]
    assert 200 == plain.status_code


async def test_an_explained_answer_is_the_plain_one_with_more(mini):
    """Without what was asked the bytes are those of a plain answer."""
    plain = await mini.post("/predict?top_k=3", content=png())
    body = (await mini.post("/predict?top_k=3&explain=box", content=png())).json()
    for row in body["predictions"]:
        del row["box"]
    del body["view"], body["explanation"]

    assert plain.content == json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


async def test_the_time_is_shown_as_a_stage(mini):
    """In Server-Timing, in the metrics and in their counter; a plain request has none."""
    plain = await mini.post("/predict", content=png())
    explained = await mini.post("/predict?explain=box", content=png())
    metrics = (await mini.get("/metrics")).text

    assert "explain;dur=" in explained.headers["server-timing"]
    assert "explain" not in plain.headers["server-timing"]
    assert 'vgg_explained_images_total{model="vgg16-mini"} 1.0' in metrics
    name = 'vgg_stage_duration_seconds_count{model="vgg16-mini",stage="explain"}'
    assert f"{name} 1.0" in metrics


async def test_the_log_says_what_was_asked(mini, caplog):
    """The line of a request has the parts of its question."""
    with caplog.at_level("INFO"):
        await mini.post("/predict?explain=heat,box&classes=3", content=png())
    [record] = [one for one in caplog.records if "POST /predict" in one.getMessage()]

    assert ("box,heat", 1) == (record.explain, record.asked)


async def test_a_model_says_whether_it_explains(mini, client):
    """How, and what that costs; null of a ready graph."""
    explained = (await mini.get("/models/vgg16-mini")).json()["explanation"]
    ready = (await client.get("/models/colours")).json()["explanation"]

    assert ready is None
    assert {"method", "layer", "threshold", "most_classes"} < set(explained)
    assert 20 == explained["most_classes"]
    assert explained["seconds_per_class"] >= 0


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_boxes_are_on_the_upright_photo(mini, orientation):
    """A photo that is stored sideways has its view and its box where a person sees them."""
    photo = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (272, 136), "red").save(photo, "JPEG", exif=exif)
    body = (await mini.post("/predict?top_k=1&explain=box", content=photo.getvalue())).json()
    wide = body["image"]["width"] > body["image"]["height"]
    view, box = body["view"], body["predictions"][0]["box"]

    assert wide == (orientation < 5)
    assert ((72, 4), (4, 72))[not wide] == (view["xmin"], view["ymin"])
    assert (view["xmin"], view["ymin"]) == (box["xmin"], box["ymin"])
    assert box["xmax"] < view["xmax"]
