"""POST /predict, in this process, with a session that records."""

import asyncio
import re

import pytest

from tests.conftest import PHOTOS, client_of, png, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio

TYPE = "multipart/form-data; boundary=x"


async def test_form_and_raw_body_are_the_same_request(client):
    """A form with one file part and the file itself get the same answer."""
    form = await client.post("/predict", files={"file": ("x.png", png(), "image/png")})
    raw = await client.post("/predict", content=png())

    assert [200, 200] == [form.status_code, raw.status_code]
    assert form.content == raw.content


async def test_curl_data_binary_is_understood(client):
    """The content type that curl's --data-binary sends does no harm."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/predict", content=png("blue"), headers=headers)

    assert 2 == answer.json()["predictions"][0]["class_index"]


async def test_answer_has_the_documented_shape(client):
    """Model, predictions and image, as README.md shows them; nothing that varies by request."""
    answer = (await client.post("/predict?top_k=1", content=png("red", (48, 40)))).json()

    sha256 = answer["model"].pop("weights_sha256")
    assert re.fullmatch("[0-9a-f]{64}", sha256)
    assert {
        "model": {"name": "colours", "trained": False},
        "predictions": [
            {
                "rank": 1,
                "label": "tench, Tinca tinca",
                "probability": pytest.approx(0.999, abs=1e-3),
                "wnid": "n01440764",
                "class_index": 0,
            }
        ],
        "image": {"width": 48, "height": 40, "format": "png"},
    } == answer


async def test_headers_tell_where_the_time_went(client):
    """Server-Timing has the milliseconds of each stage, X-Batch-Size the images of the run."""
    answer = await client.post("/predict", content=png())

    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert ["decode", "queue", "run", "rank", "total"] == list(stages)
    assert all(float(duration) >= 0 for duration in stages.values())
    assert float(stages["total"]) >= float(stages["run"])
    assert "1" == answer.headers["x-batch-size"]


async def test_request_id_is_echoed_if_it_is_sane(client):
    """A sane id comes back; another one is replaced."""
    sane = await client.post("/predict", content=png(), headers={"x-request-id": "abc-1"})
    insane = await client.post("/predict", content=png(), headers={"x-request-id": "a b<script>"})

    assert "abc-1" == sane.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", insane.headers["x-request-id"])


@pytest.mark.parametrize("k", [1, 2, 999, 1000])
async def test_top_k_rows_in_order(client, k):
    """top_k rows come back, ranked, the probabilities falling."""
    rows = (await client.post(f"/predict?top_k={k}", content=png())).json()["predictions"]

    assert list(range(1, k + 1)) == [row["rank"] for row in rows]
    probabilities = [row["probability"] for row in rows]
    assert sorted(probabilities, reverse=True) == probabilities


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("top_k=0", (400, "/problems/bad-request")),
        ("top_k=1001", (400, "/problems/bad-request")),
        ("top_k=five", (400, "/problems/bad-request")),
        ("model=resnet50", (404, "/problems/unknown-model")),
        ("model=../../etc/passwd", (404, "/problems/unknown-model")),
        ("topk=1", (422, "/problems/unknown-parameter")),
        ("top_k=1&url=http://localhost/", (422, "/problems/unknown-parameter")),
    ],
)
async def test_impossible_parameters(client, session, query, expected):
    """Invalid parameters are refused without a run."""
    runs = len(session.sizes)
    answer = await client.post(f"/predict?{query}", content=png())

    assert expected == problem(answer)
    assert runs == len(session.sizes)


BOUNDARY = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"", {}, 415),
        (b"no image", {}, 415),
        (b"", BOUNDARY, 400),
        (b"--x\r\nbroken", BOUNDARY, 400),
        (b"--x--\r\n", BOUNDARY, 400),
        (b"anything", {"content-type": "multipart/form-data"}, 400),
        (png()[:60], {}, 422),
        (png(size=(4, 400)), {}, 422),
    ],
)
async def test_bodies_that_are_no_image(client, content, headers, expected):
    """Whatever is posted, the answer is a problem that the client can read."""
    answer = await client.post("/predict", content=content, headers=headers)

    assert expected == problem(answer)[0]


async def test_form_without_a_file_or_with_files_of_other_names(client):
    """The parts of photos are all called `file`."""
    wrong = await client.post("/predict", files={"image": png()})
    two = await client.post("/predict", files=[("file", png()), ("image", png())])
    text = await client.post("/predict", data={"file": "a text"}, files={"other": png()})

    assert [(400, "/problems/bad-request")] * 3 == [problem(x) for x in (wrong, two, text)]
    assert "'file'" in wrong.json()["detail"]


def form_of(*photos):
    return [("file", (f"{number}.png", photo)) for number, photo in enumerate(photos)]


async def test_several_photos_get_a_list_in_their_order(client):
    """Each item is byte for byte what the photo alone would get, or a problem."""
    photos = [png("red"), b"no image", png("blue"), b"", png("lime")]
    answer = await client.post("/predict?top_k=2", files=form_of(*photos))
    alone = [await client.post("/predict?top_k=2", content=photo) for photo in photos]

    assert 200 == answer.status_code
    assert [200, 415, 200, 415, 200] == [item.get("status", 200) for item in answer.json()]
    for number in (0, 2, 4):
        assert alone[number].text in answer.text
        assert alone[number].json() == answer.json()[number]
    problem = answer.json()[1]
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert {**alone[1].json(), "request_id": None} == {**problem, "request_id": None}


async def test_one_photo_that_is_wrong_is_an_error(client):
    """A list is for several: one photo is answered as ever."""
    answer = await client.post("/predict", files=form_of(b""))

    assert (415, "/problems/unsupported-format") == problem(answer)
    assert "no photo was chosen" in answer.json()["detail"]


async def test_as_many_photos_as_the_limit_says(client, session):
    """64 are answered, in few runs; one more is refused without a run, and the error says the limit."""
    fine = await client.post("/predict", files=form_of(*[png()] * 64))
    runs = len(session.sizes)
    refused = await client.post("/predict", files=form_of(*[png()] * 65))

    assert [0] * 64 == [item["predictions"][0]["class_index"] for item in fine.json()]
    assert (400, {"files": 64.0}) == (problem(refused)[0], refused.json()["limit"])
    assert "the limit is 64" in refused.json()["detail"]
    assert runs == len(session.sizes)


async def test_each_of_several_photos_is_asked_the_same(client):
    """The parameters of a question hold for all of them."""
    answer = await client.post("/predict?classes=282", files=form_of(png(), png("blue")))

    assert [282, 282] == [item["asked"][0]["class_index"] for item in answer.json()]


async def test_a_page_shows_one_photo(client):
    """A browser without scripts that posts two gets a sentence."""
    headers = {"sec-fetch-mode": "navigate", "accept": "text/html"}
    answer = await client.post("/predict", files=form_of(png(), png()), headers=headers)

    assert (400, True) == (answer.status_code, "Too many files" in answer.text)


async def test_each_of_several_photos_costs_its_client_a_token(model_dir, session):
    """A bucket may owe them, so that no request is too large for it; then its client waits."""
    async with (
        started_app(model_dir, session, rate_limit=1, rate_burst=3) as app,
        client_of(app) as client,
    ):
        first = await client.post("/predict", files=form_of(*[png()] * 10))
        second = await client.post("/predict", content=png())

    assert [200, 429] == [first.status_code, second.status_code]
    assert 7 <= int(second.headers["retry-after"]) <= 8


async def test_large_form_stays_in_memory(client, tmp_path, monkeypatch):
    """A file above Starlette's spool size is read without a temporary file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    padded = png("green") + b"\0" * 3_000_000
    answer = await client.post("/predict", files={"file": padded})

    assert 200 == answer.status_code


async def test_failed_run_is_a_500_and_the_next_one_succeeds(client, session):
    """An exception in the session reaches its callers as a problem without its text."""

    def explode():
        session.before_run = lambda: None
        raise ValueError("secret")

    session.before_run = explode
    failed = await client.post("/predict", content=png())
    fine = await client.post("/predict", content=png())

    assert (500, "/problems/run-failed") == problem(failed)
    assert "secret" not in failed.text
    assert 200 == fine.status_code


async def test_client_may_shorten_the_deadline(model_dir, session, client_gate):
    """X-Request-Timeout-Ms ends the wait early, with 504; a negative one is refused."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        session.before_run = client_gate.wait
        late = await client.post("/predict", content=png(), headers={"x-request-timeout-ms": "50"})
        client_gate.set()
        wrong = await client.post("/predict", content=png(), headers={"x-request-timeout-ms": "-1"})

    assert (504, "/problems/deadline-exceeded") == problem(late)
    assert (400, "/problems/bad-request") == problem(wrong)


async def test_concurrent_requests_share_runs_and_get_their_own_answers(client):
    """Concurrent requests are batched, and each gets its own row."""
    colours = ["red", "green", "blue"] * 20
    answers = await asyncio.gather(
        *[client.post("/predict", content=png(colour)) for colour in colours]
    )

    assert [0, 1, 2] * 20 == [a.json()["predictions"][0]["class_index"] for a in answers]
    assert any(int(answer.headers["x-batch-size"]) > 1 for answer in answers)


async def test_file_name_has_no_effect(client, caplog):
    """The name of the file is neither read nor logged."""
    with caplog.at_level("DEBUG"):
        answer = await client.post("/predict", files={"file": ("secret-name.heic", png())})

    assert 200 == answer.status_code
    assert "secret-name" not in caplog.text


async def test_answer_is_a_pure_function_of_its_input(client):
    """The same photo gets the same answer, alone or in a batch."""
    photo = (PHOTOS / "chelsea.jpg").read_bytes()
    alone = await client.post("/predict", content=photo)
    crowd = await asyncio.gather(*[client.post("/predict", content=photo) for _ in range(8)])

    assert {alone.content} == {answer.content for answer in crowd}


async def test_body_that_does_not_come_is_given_up(model_dir, session):
    """A body that stands still is answered with 408, whatever the deadline is."""

    async def never():
        yield b"begin"
        await asyncio.Event().wait()

    async with (
        started_app(model_dir, session, upload_silence_ms=50) as app,
        client_of(app) as client,
    ):
        answer = await client.post("/predict", content=never())

    assert (408, "/problems/slow-upload") == problem(answer)


async def test_parameters_in_the_form_are_not_silently_ignored(client):
    """A parameter beside the file is refused; the error shows the URL to use instead."""
    answer = await client.post("/predict", files={"file": png()}, data={"topk": "1"})

    assert (400, "/problems/bad-request") == problem(answer)
    assert "?top_k=1" in answer.json()["detail"]


async def test_a_slash_at_the_end_changes_nothing(client):
    """/predict/ is /predict, without a redirect, which would lose the body."""
    answer = await client.post("/predict/?top_k=1", content=png("green"))

    assert 1 == answer.json()["predictions"][0]["class_index"]
