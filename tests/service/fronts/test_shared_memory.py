"""The memory that a front shares with the owner."""

import os

import numpy as np

from app.service.fronts.shared_memory import Layout, SharedMemory, allocate


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
