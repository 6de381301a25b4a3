import asyncio
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import OverloadedError
from app.images.overlay import Marks
from app.images.photo_box import PhotoBox
from app.records import ImageInfo, Label, Prediction
from app.serving.classifier import top_k

pytestmark = pytest.mark.anyio

LABELS = [Label(wnid=f"n{number:08}", text=f"class {number}") for number in range(1000)]


async def test_no_more_is_decoded_than_the_next_runs_take(stand):
    """With batches of 2 six images are decoded, in order; then each request has its own answer."""
    tasks = [stand.ask(number) for number in range(20)]
    await asyncio.sleep(0)
    await stand.until_coming(14)

    assert list(range(6)) == stand.decoded
    stand.gate.set()
    answers = await asyncio.gather(*tasks)
    assert list(range(20)) == stand.decoded
    assert list(range(20)) == [answer.predictions[0].class_index for answer in answers]
    assert 0 == stand.queue.depth


async def test_a_client_that_leaves_while_its_picture_is_drawn_is_counted(stand):
    """After its photo was classified: that is a stage of its own."""
    stand.decoding.clear()
    marks = Marks(PhotoBox(0, 0, 8, 8), None, None)
    info = ImageInfo(8, 8, "png")
    drawing = asyncio.create_task(stand.classifier.draw(b"a", info, marks, time.monotonic() + 60))
    await asyncio.sleep(0)
    drawing.cancel()
    await asyncio.wait({drawing})

    assert (1, 0) == (stand.left("draw"), stand.left("decode"))


async def test_a_client_that_leaves_is_counted_by_stage(stand):
    """While it waits for a place, while it is decoded, while it waits in line, during its run."""
    stand.decoding.clear()
    decoding = stand.ask(0)
    await asyncio.sleep(0)
    decoding.cancel()
    await asyncio.wait({decoding})
    stand.decoding.set()
    tasks = [stand.ask(number) for number in range(1, 9)]
    await asyncio.sleep(0)
    await stand.until_coming(2)
    await asyncio.to_thread(stand.running.wait, 10)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert 1 == stand.left("decode")
    assert 8 == stand.left("queue") + stand.left("run")
    assert 0 < stand.left("run") <= 2
    assert 0 == stand.queue.coming


async def test_the_wait_for_a_place_counts_as_time_in_the_queue(stand):
    """Images that wait for a place make the predicted wait longer."""
    tasks = [stand.ask(number) for number in range(20)]
    await asyncio.sleep(0)
    asked = time.monotonic()
    await stand.until_coming(14)
    full = stand.queue.predicted_wait()
    opened = time.monotonic()
    stand.gate.set()
    last = (await asyncio.gather(*tasks))[-1]

    assert full >= 0.01 * 14
    assert last.seconds["queue"] >= opened - asked


async def test_a_request_is_admitted_by_the_queue_of_its_model(stand):
    """Before its body is read a request is refused if its client would not wait so long."""
    tasks = [stand.ask(number) for number in range(20)]
    await asyncio.sleep(0)
    await stand.until_coming(14)
    stand.loaded.queue.admit()
    with pytest.raises(OverloadedError):
        stand.loaded.queue.admit(0.01)
    stand.gate.set()
    await asyncio.gather(*tasks)


def test_the_best_comes_first_with_all_its_facts():
    """Rank, name, probability, id and index are those of the same class."""
    probabilities = np.zeros(1000, np.float32)
    probabilities[[285, 281]] = 0.75, 0.25

    predictions = top_k(probabilities, LABELS, 2)

    assert (
        Prediction(1, "class 285", 0.75, "n00000285", 285),
        Prediction(2, "class 281", 0.25, "n00000281", 281),
    ) == predictions


def test_equal_probabilities_are_ordered_by_class_index():
    """An answer does not depend on how a sort treats ties."""
    probabilities = np.full(1000, 0.001, np.float32)
    probabilities[[900, 7]] = 0.2

    assert [7, 900, 0, 1, 2] == [p.class_index for p in top_k(probabilities, LABELS, 5)]


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_there_are_k_predictions(k):
    """They are ranked from 1."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000)).astype(np.float32)

    assert [*range(1, k + 1)] == [p.rank for p in top_k(probabilities, LABELS, k)]


def test_numbers_are_plain_python():
    """The answer has ints and floats, which JSON can hold, and none of numpy's."""
    (best,) = top_k(np.full(1000, 0.001, np.float32), LABELS, 1)

    assert (int, float) == (type(best.class_index), type(best.probability))


@given(weights=st.lists(st.integers(0, 4), min_size=1, max_size=30), k=st.integers(1, 30))
def test_same_as_sorting_by_hand(weights, k):
    """For any probabilities, many of them equal, the order is (-probability, class_index)."""
    probabilities = np.asarray(weights, np.float32) / np.float32(100)
    order = sorted(range(len(weights)), key=lambda index: (-weights[index], index))[:k]

    assert order == [p.class_index for p in top_k(probabilities, LABELS, k)]
