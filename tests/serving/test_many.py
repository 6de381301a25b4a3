import asyncio
import time

import numpy as np
import pytest

from app.errors import (
    BadRequestError,
    CorruptImageError,
    DeadlineExceededError,
    OverloadedError,
    RunFailedError,
)
from app.serving.classifier import Classification
from app.serving.many import MOST_IMAGES, classify_many

pytestmark = pytest.mark.anyio

BAD = b"\xff"


@pytest.fixture
def many(stand):
    """Start a request of several images; a file that begins with BAD is damaged."""
    prepare = stand.prepare

    def prepare_good(data, preprocess):
        if data == BAD:
            raise CorruptImageError("It is damaged.")
        return prepare(data, preprocess)

    stand.classifier._prepare = prepare_good

    def start(*images, seconds=60.0):
        deadline = time.monotonic() + seconds
        work = classify_many(stand.classifier, stand.loaded, images, 1, deadline)
        return asyncio.create_task(work)

    return start


def classes(outcomes):
    return [
        one.predictions[0].class_index if isinstance(one, Classification) else type(one)
        for one in outcomes
    ]


async def test_each_image_gets_its_own_answer_in_order(stand, many):
    """Twenty images, more than have a place at once, come back in their order."""
    stand.gate.set()

    assert list(range(20)) == classes(await many(*[bytes([number]) for number in range(20)]))
    assert list(range(20)) == stand.decoded


async def test_one_that_fails_harms_no_other(stand, many):
    """A damaged file is a problem at its place, and the others have their answers."""
    stand.gate.set()
    outcomes = await many(b"\1", BAD, b"\3")

    assert [1, CorruptImageError, 3] == classes(outcomes)
    assert 0 == stand.queue.coming


async def test_pixels_are_run_as_they_are(stand, many):
    """Arrays of the model's size are neither decoded nor resized; files may be among them."""
    stand.gate.set()
    pixels = [np.full((8, 8, 3), number, np.uint8) for number in (5, 6)]
    outcomes = await many(pixels[0], b"\2", pixels[1])

    assert [5, 2, 6] == classes(outcomes)
    assert [2] == stand.decoded
    assert [1.0] * 3 == [float(one.probabilities.max()) for one in outcomes]


async def test_all_are_counted_from_the_start(stand, many):
    """Other requests see every image in the predicted wait as soon as one is admitted."""
    task = many(*[bytes([number]) for number in range(20)])
    await asyncio.sleep(0)

    assert 20 == stand.queue.depth
    stand.gate.set()
    await task
    assert 0 == stand.queue.depth


async def test_a_client_that_leaves_gives_up_all(stand, many):
    """Whether they have begun, wait for a place, or were never started: none stays counted."""
    for turns in range(5):
        task = many(*[bytes([number]) for number in range(20)])
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert (0, 0) == (stand.queue.coming, stand.queue.awaiting)


async def test_none_is_admitted_if_the_last_would_come_too_late(stand, many):
    """Twenty images of 10 ms do not fit into 50 ms; the sentence says how many are too many."""
    with pytest.raises(OverloadedError, match="the last of 20 images") as caught:
        await many(*[bytes([number]) for number in range(20)], seconds=0.05)

    assert 0 < (caught.value.retry_after or 0) < 1
    assert (0, []) == (stand.queue.coming, stand.decoded)


async def test_a_deadline_that_passes_is_the_error_of_the_request(stand, many):
    """Where the server answered no image of a request, a retry of all of it may help."""
    with pytest.raises(DeadlineExceededError):
        await many(b"\1", b"\2", seconds=0.2)

    assert 0 == stand.queue.coming


async def test_images_that_the_server_failed_are_told_beside_those_that_are_wrong(stand, many):
    """Only where it failed on every image is the request itself an error."""
    stand.gate.set()
    stand.failing = True
    with pytest.raises(RunFailedError):
        await many(b"\1", b"\2")

    assert [CorruptImageError, RunFailedError] == classes(await many(BAD, b"\1"))


async def test_too_many_are_refused(many):
    """The sentence has the limit."""
    with pytest.raises(BadRequestError, match=f"the limit is {MOST_IMAGES}"):
        await many(*[b"\1"] * (MOST_IMAGES + 1))
