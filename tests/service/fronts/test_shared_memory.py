"""The memory that a front shares with the owner."""

import os

import numpy as np
import pytest

from app.records import Ask
from app.service.fronts.shared_memory import Layout, SharedMemory, allocate
from app.serving.batching.explaining import MOST
from tests.service.fronts.pair import seen_of


def two_sides(shape):
    descriptor = allocate(shape)
    try:
        return SharedMemory(descriptor, shape), SharedMemory(descriptor, shape)
    finally:
        os.close(descriptor)


def test_both_sides_see_the_same():
    """Each side sees the pixels, rows and states that the other writes."""
    owner, front = two_sides(Layout((8,), (1000,), slots=2))
    front.pixels(0, 1)[:] = 7
    front.coming[0] = 3
    owner.rows[1] = 0.25
    owner.updated_at[0], owner.next_start[0], owner.latest_start[0], owner.usable[0] = (
        1.0,
        2.0,
        3.0,
        0.5,
    )

    assert (owner.pixels(0, 1) == 7).all()
    assert not owner.pixels(0, 0).any()
    assert (front.rows[1] == np.float32(0.25)).all()
    assert [3.0, 1.0] == [owner.coming[0], front.updated_at[0]]
    assert [2.0, 3.0, 0.5] == [front.next_start[0], front.latest_start[0], front.usable[0]]


def test_a_slot_holds_the_image_of_any_model():
    """Models with inputs of several sizes share the slots, each with its own shape."""
    owner, front = two_sides(Layout((8, 13), (1000, 7), slots=3))
    for model, crop in enumerate((8, 13)):
        image = np.random.default_rng(model).integers(0, 255, (crop, crop, 3), np.uint8)
        front.pixels(model, 2)[:] = image

        assert (image == owner.pixels(model, 2)).all()
        assert not owner.pixels(1, 1).any()


def test_the_owner_reads_what_a_front_asks():
    """How many best classes, which others, and against which; each slot has its own."""
    owner, front = two_sides(Layout((8,), (1000,), slots=2))
    asks = Ask(5, (999, 0), 3, cells=True), Ask(1)
    for slot, ask in enumerate(asks):
        front.write_ask(slot, ask)

    assert asks == (owner.read_ask(0, 0), owner.read_ask(0, 1))


@pytest.mark.parametrize(
    "ask",
    [
        Ask(0),
        Ask(-1),
        Ask(MOST + 1),
        Ask(5, (1000,)),
        Ask(5, (-1,)),
        Ask(5, (), 1000),
        Ask(5, (), -2),
    ],
)
def test_the_owner_refuses_an_ask_that_makes_no_sense(ask):
    """A broken front cannot have the device compute what does not exist."""
    owner, front = two_sides(Layout((8,), (1000,), slots=1))
    front.write_ask(0, ask)

    with pytest.raises(ValueError, match="a front asks"):
        owner.read_ask(0, 0)


def test_an_explanation_crosses_the_memory():
    """Classes, maps, cells and seconds; the largest fits, and nothing else is touched."""
    layout = Layout((8,), (1000,), slots=2, map_floats=13)
    owner, front = two_sides(layout)
    front.pixels(0, 0)[:] = 9
    sent = seen_of(Ask(MOST, cells=True))
    owner.write_seen(1, sent)
    owner.write_seen(0, seen_of(Ask(1)))
    got = front.read_seen(1)

    assert sent.classes.tolist() == got.classes.tolist()
    assert (sent.maps == got.maps).all()
    assert np.array_equal(np.array(sent.cells), np.array(got.cells))
    assert front.read_seen(0).cells is None
    assert sent.seconds == got.seconds
    assert not front.rows.any()
    assert (owner.pixels(0, 0) == 9).all()
    assert not owner.pixels(0, 1).any()


def test_counts_of_a_front_that_make_no_sense_are_zero():
    """Not numbers, below zero, or more than a front can have."""
    owner, front = two_sides(Layout((8,), (1000,), slots=1))
    found = []
    for coming, asked in ((3.0, 15.0), (float("nan"), -1.0), (1e12, float("inf"))):
        front.coming[0], front.asked[0] = coming, asked
        found.append(owner.read_coming(0))

    assert [(3, 15), (0, 0), (0, 0)] == found
