"""POST /v2/models/{model}/infer, in this process, with a session that records."""

import gzip
import json
import struct

import numpy as np
import pytest

from app.web.protocols.oip.request import HEAD_LENGTH
from tests.conftest import client_of, colour_rows, png, started_app
from tests.web.answers import problem
from tests.web.protocols.oip.test_request import body_of, elements

pytestmark = pytest.mark.anyio

INFER = "/v2/models/colours/infer"
COLOURS = ("blue", "red", "lime", "blue", "red")
INDICES = [2, 0, 1, 2, 0]


async def post(client, *body_and_length, path=INFER, **headers):
    """Post a request with a binary tensor."""
    body, length = body_and_length
    named = {HEAD_LENGTH: length, **{name.replace("_", "-"): one for name, one in headers.items()}}
    return await client.post(path, content=body, headers=named)


def photos(*colours):
    """Write a request with a photo of each colour."""
    tensor = elements(*map(png, colours))
    return body_of(tensor, shape=[len(colours)])


@pytest.mark.parametrize("path", [INFER, "/v2/models/colours/versions/1/infer"])
async def test_photos_are_answered_in_order(client, session, path):
    """One row each, as POST /predict has it, out of full batches."""
    answer = await post(client, *photos(*COLOURS), path=path)
    single = (await client.post("/predict", content=png("blue"))).json()["predictions"][0]
    rows = np.array(answer.json()["outputs"][0]["data"]).reshape(5, 1000)

    assert INDICES == rows.argmax(axis=1).tolist()
    assert pytest.approx(single["probability"]) == rows[0, 2]
    assert max(session.sizes) > 1


async def test_pixels_reach_the_session_as_they_are(client):
    """They are neither decoded nor resized: what comes back is the row of these very numbers."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    request = body_of(pixels.tobytes(), shape=[3, 32, 32, 3], datatype="UINT8",
                      outputs=[{"parameters": {"binary_data": True}}])  # fmt: skip
    answer = await post(client, *request)
    rows = np.frombuffer(answer.content[int(answer.headers[HEAD_LENGTH]) :], "<f4")

    assert "application/octet-stream" == answer.headers["content-type"]
    assert np.allclose(colour_rows(pixels), rows.reshape(3, 1000), atol=1e-6)


async def test_answer_says_where_the_time_went(client):
    """Server-Timing of the slowest photo, the batch that it shared."""
    answer = await post(client, *photos("red", "blue"))
    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))

    assert {"decode", "queue", "run", "rank", "total"} == set(stages)
    assert answer.headers["x-batch-size"] in {"1", "2"}


async def test_one_bad_photo_fails_the_request(client):
    """The protocol has no answer for a part of the photos; the error names the photo."""
    tensor = elements(png(), png(), b"\0\0\0\x18ftypheic", png())
    answer = await post(client, *body_of(tensor, shape=[4]))
    alone = await post(client, *body_of(elements(b"\0\0\0\x18ftypheic")))

    assert (415, "/problems/unsupported-format") == problem(answer) == problem(alone)
    assert answer.json()["error"].startswith("inputs[0].data[2]: HEIC is not supported.")
    assert alone.json()["error"].startswith("HEIC is not supported.")


async def test_more_classes_than_there_are_is_all_of_them(client):
    """As Triton does."""
    outputs = [{"name": "probabilities", "parameters": {"classification": 5000}}]
    answer = await post(client, *body_of(elements(png()), outputs=outputs))

    assert [1, 1000] == answer.json()["outputs"][0]["shape"]


async def test_time_limit_of_the_client_is_kept(client, session, client_gate):
    """`timeout`, in microseconds, shortens the time to the answer."""
    session.before_run = client_gate.wait
    answer = await post(client, *body_of(elements(png()), parameters={"timeout": 20_000}))

    assert (504, "/problems/deadline-exceeded") == problem(answer)


async def test_bodies_are_compressed_in_both_directions(client):
    """The length of the JSON is that before compression."""
    body, length = photos("lime")
    answer = await post(client, gzip.compress(body), length, content_encoding="gzip")
    damaged = await post(client, b"junk", length, content_encoding="gzip")

    assert ("gzip", 1) == (  # httpx accepts gzip, and has decompressed it
        answer.headers["content-encoding"],
        int(np.argmax(json.loads(answer.content)["outputs"][0]["data"])),
    )
    assert (400, "/problems/bad-request") == problem(damaged)


async def test_bomb_ends_with_413_and_memory_is_counted(model_dir, session):
    """A body counts as what it is once it is decompressed, against both limits."""
    limits = {"max_body_bytes": 100_000, "max_upload_bytes": 110_000}
    async with started_app(model_dir, session, **limits) as app, client_of(app) as client:
        bomb = await post(client, gzip.compress(bytes(10**7)), "0", content_encoding="gzip")
        full = await post(
            client, gzip.compress(bytes(32 * 32 * 3 * 32), 0), "0", content_encoding="gzip"
        )
        metrics = (await client.get("/metrics")).text

    assert (413, "/problems/body-too-large") == problem(bomb)
    assert (503, "/problems/uploads-full") == problem(full)
    assert "vgg_upload_bytes 0.0" in metrics


async def test_requests_are_counted_by_their_protocol(client):
    """And so are those that fail."""
    await post(client, *photos("red"))
    await post(client, b"", "0")
    metrics = (await client.get("/metrics")).text

    assert 'vgg_requests_total{code="200",model="colours",protocol="oip"} 1.0' in metrics
    assert 'vgg_requests_total{code="415",model="colours",protocol="oip"} 1.0' in metrics


async def test_every_photo_costs_a_token(model_dir, session):
    """A request of five photos empties a bucket of five."""
    limits = {"rate_limit": 0.001, "rate_burst": 5}
    async with started_app(model_dir, session, **limits) as app, client_of(app) as client:
        answers = [await post(client, *photos(*COLOURS)) for _ in range(2)]

    assert 200 == answers[0].status_code
    assert (429, "/problems/rate-limited") == problem(answers[1])
    assert "retry-after" in answers[1].headers


async def test_parameter_in_the_query_is_refused(client):
    """The protocol has none; one would be ignored."""
    answer = await post(client, *photos("red"), path=f"{INFER}?top_k=3")

    assert (422, "/problems/unknown-parameter") == problem(answer)


async def test_raw_answer_is_binary(client):
    """A photo alone, with nothing to parse, and floats behind a short JSON."""
    answer = await post(client, png("lime"), "0")
    tensor = answer.content[int(answer.headers[HEAD_LENGTH]) :]

    assert 1 == int(np.argmax(struct.unpack("<1000f", tensor)))
