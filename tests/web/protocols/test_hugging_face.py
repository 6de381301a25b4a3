"""POST /hf/{model}: what clients of Hugging Face send, and what they want; real ones are in tests/e2e."""

import json
from base64 import b64encode

import pytest

from tests.conftest import png
from tests.web.answers import problem
from tests.web.explaining import KNOWN, SECOND

pytestmark = pytest.mark.anyio


def asking(photo=None, **parameters):
    """Return a request as huggingface_hub makes it with parameters."""
    body = {"inputs": b64encode(photo or png()).decode()}
    return {"json": body | ({"parameters": parameters} if parameters else {})}


@pytest.mark.parametrize(
    "content_type",
    [None, "image/png", "image/jpeg", "application/octet-stream", "application/json", "text/plain",
     "application/x-www-form-urlencoded", "nonsense"],
)  # fmt: skip
async def test_bytes_of_any_type_are_a_photo(client, content_type):
    """The first bytes say what it is; the header is often missing or wrong."""
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post("/hf/colours", content=png("lime"), headers=headers)

    assert 200 == answer.status_code
    assert [1, 0, 2, 3, 4] == [one["class_index"] for one in answer.json()]


async def test_answer_is_a_list_with_the_fields_of_hugging_face_first(client):
    """Label and score, and what tells classes with the same label apart."""
    raw = (await client.post("/hf/colours", content=png())).json()
    ours = (await client.post("/predict", content=png())).json()["predictions"]

    assert ["label", "score", "wnid", "class_index"] == list(raw[0])
    assert [(one["label"], one["probability"]) for one in ours] == [
        (one["label"], one["score"]) for one in raw
    ]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
async def test_json_holds_the_photo_and_its_parameters(client, content_type):
    """Whatever its type: curl -d says that it is a form."""
    body = asking(png("blue"), top_k=2, function_to_apply="softmax")["json"]
    body |= {"options": {"wait_for_model": True}}
    headers = {"content-type": content_type}
    answer = await client.post("/hf/colours", content=json.dumps(body), headers=headers)

    assert [2, 0] == [one["class_index"] for one in answer.json()]


async def test_parameters_may_stand_in_the_address_or_be_null(client):
    """Those of the JSON count more; null is as good as nothing."""
    plain = await client.post("/hf/colours?top_k=3", content=png())
    beside = await client.post("/hf/colours?top_k=3", **asking(top_k=1))
    null = await client.post("/hf/colours?top_k=3", **asking(top_k=None, function_to_apply=None))
    none = await client.post("/hf/colours", json=asking()["json"] | {"parameters": None})

    assert [3, 1, 3, 5] == [len(answer.json()) for answer in (plain, beside, null, none)]


@pytest.mark.parametrize(
    ("parameters", "expected", "words"),
    [
        ({"top_k": 0}, 400, "from 1 to 1000"),
        ({"top_k": 1001}, 400, "from 1 to 1000"),
        ({"top_k": "5"}, 400, "from 1 to 1000"),
        ({"top_k": 1.5}, 400, "from 1 to 1000"),
        ({"top_k": True}, 400, "from 1 to 1000"),
        ({"top_k": [5]}, 400, "from 1 to 1000"),
        ({"top_k": 10**400}, 400, "from 1 to 1000"),
        ({"function_to_apply": "sigmoid"}, 422, "softmax"),
        ({"function_to_apply": "none"}, 422, "no logits"),
        ({"function_to_apply": 1}, 422, "softmax"),
        ({"topk": 5}, 422, "top_k and function_to_apply"),
        ({"threshold": 0.5}, 422, "top_k and function_to_apply"),
    ],
)
async def test_parameters_that_cannot_be(client, session, parameters, expected, words):
    """Each is refused without a run, and the sentence says what there is."""
    runs = len(session.sizes)
    answer = await client.post("/hf/colours", **asking(**parameters))

    assert expected == problem(answer)[0]
    assert words in answer.json()["error"]
    assert runs == len(session.sizes)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, '"inputs"'),
        ({"inputs": None}, "inputs: expected a photo"),
        ({"inputs": ["x"]}, "inputs: expected a photo"),
        ({"inputs": {"image": "x"}}, "inputs: expected a photo"),
        ({"inputs": "*"}, "inputs: this is not a photo in base64"),
        ({"inputs": "https://example.org/a.jpg"}, "fetches nothing"),
        ({"inputs": "", "parameters": 5}, "parameters: expected an object"),
        ({"inputs": "", "model": "x"}, '"parameters" alone'),
        ([], "not an object"),
    ],
)
async def test_json_that_cannot_be(client, body, words):
    """The sentence says what was expected."""
    answer = await client.post("/hf/colours", json=body)

    assert 400 == problem(answer)[0]
    assert words in answer.json()["error"]


@pytest.mark.parametrize("path", ["/hf/colours", "/hf/colours?top_k=1", "/hf/colours/"])
@pytest.mark.parametrize(
    ("content", "status"), [(b"", 415), (b"no image", 415), (png()[:60], 422), (b"{", 400)]
)
async def test_photos_that_cannot_be_used(client, path, content, status):
    """They get the problems of POST /predict."""
    assert status == problem(await client.post(path, content=content))[0]


async def test_a_photo_in_json_that_cannot_be_used(client):
    """Base64 of something else is a problem of the photo, not of the JSON."""
    empty = await client.post("/hf/colours", json={"inputs": ""})
    text = await client.post("/hf/colours", **asking(b"no image"))

    assert [415, 415] == [problem(empty)[0], problem(text)[0]]


async def test_the_model_is_that_of_the_address(client):
    """Another one is unknown, and the query has no model."""
    unknown = await client.post("/hf/other", content=png())
    query = await client.post("/hf/colours?model=colours", content=png())
    braces = await client.post("/hf/{model}", content=png())

    assert (404, "/problems/unknown-model") == problem(unknown) == problem(braces)
    assert (422, "/problems/unknown-parameter") == problem(query)


async def test_its_answers_are_counted_under_its_name(client):
    """With the label protocol, those that failed too."""
    await client.post("/hf/colours", content=png())
    await client.post("/hf/colours/boxes", content=png())
    metrics = (await client.get("/metrics")).text

    assert 'vgg_requests_total{code="200",model="colours",protocol="hf"} 1.0' in metrics
    assert 'vgg_requests_total{code="422",model="colours",protocol="hf"} 1.0' in metrics


async def test_a_model_without_boxes_says_why_before_the_body_is_read(client):
    """A ready ONNX graph has none, whatever is posted."""
    read = []

    async def body():
        read.append(True)
        yield png()

    answer = await client.post("/hf/colours/boxes", content=body())

    assert [] == read
    assert (422, "/problems/unknown-parameter") == problem(answer)
    assert "is a ready ONNX graph" in answer.json()["error"]


async def test_boxes_are_those_of_predict(mini):
    """Five classes with their boxes in whole pixels of the photo, the best first."""
    photo = png(size=(136, 68))
    rows = (await mini.post("/predict?explain=box", content=photo)).json()["predictions"]
    boxes = (await mini.post("/hf/vgg16-mini/boxes", content=photo)).json()

    assert ["label", "score", "wnid", "class_index", "box"] == list(boxes[0])
    assert [(one["label"], one["probability"], one["box"]) for one in rows] == [
        (one["label"], one["score"], one["box"]) for one in boxes
    ]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0, 5), (0.1, [KNOWN, SECOND]), (0.75, [KNOWN]), (1, [])]
)
async def test_the_threshold_leaves_out_what_is_less_probable(mini, threshold, expected):
    """In the JSON or in the address."""
    body = await mini.post("/hf/vgg16-mini/boxes", **asking(threshold=threshold))
    query = await mini.post(f"/hf/vgg16-mini/boxes?threshold={threshold}", content=png())
    found = [one["class_index"] for one in body.json()]

    assert expected == (found if expected != 5 else len(found))
    assert body.content == query.content


@pytest.mark.parametrize(
    "threshold", [-0.1, 1.1, "0.5", True, [0.5], pytest.param(10**400, id="huge")]
)
async def test_thresholds_that_cannot_be(mini, threshold):
    """Each is refused with what is expected."""
    answer = await mini.post("/hf/vgg16-mini/boxes", **asking(threshold=threshold))

    assert 400 == problem(answer)[0]
    assert "from 0 to 1" in answer.json()["error"]


async def test_a_class_that_is_seen_nowhere_has_no_box(mini, explaining):
    """Where nothing speaks for any of them, the list is empty."""
    explaining.empty = True

    assert [] == (await mini.post("/hf/vgg16-mini/boxes", content=png())).json()
