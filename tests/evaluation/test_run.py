"""Photos are answered in their order, in batches, and one that fails does not take others with it."""

from pathlib import Path

import numpy as np
import pytest

from app.errors import DeviceLostError, RunFailedError
from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.evaluation.run import NO_ROW, Decoded, classify, even, largest_batch, stacked
from app.records import Pixels

PHOTOS = [Photo(Path(str(number)), str(number), 0) for number in range(23)]


def decode(photo: Photo) -> Decoded[Pixels]:
    """Return grey pixels as bright as the number of the photo; every tenth is damaged."""
    number = int(photo.name)
    if number % 10 == 9:
        return Decoded(Answer(photo.name, (1, 1), "x", (0, 0), "", "damaged", NO_ROW), None)
    answer = Answer(photo.name, (1, 1), "x", (4, 4), "png", "", NO_ROW)
    return Decoded(answer, np.full((4, 4, 3), number, np.uint8))


class Recorder:
    """A session that answers with the brightness, and fails on batches that hold some value."""

    def __init__(self, bad: int = -1, error: type[RunFailedError] = RunFailedError) -> None:
        self.sizes: list[int] = []
        self._bad, self._error = bad, error

    def run(self, batch):
        self.sizes.append(len(batch))
        values = batch[:, 0, 0, :1].astype(np.float32)
        if (values == self._bad).any():
            raise self._error("It failed.")
        return values


def test_no_run_has_a_single_image():
    """The last image of an odd batch is run twice, and answered once."""
    session = Recorder()
    run = even(session.run)
    found = [run(np.full((n, 4, 4, 3), 7, np.uint8)) for n in (1, 2, 5)]

    assert [1, 2, 5] == [len(rows) for rows in found]
    assert [2, 2, 6] == session.sizes


def test_answers_come_in_order_and_in_batches():
    """Damaged photos are answered without a run."""
    session = Recorder()
    found: list[Answer] = []
    classify(PHOTOS, decode, stacked(session.run), 4, 2, found.append)

    assert [photo.name for photo in PHOTOS] == [one.name for one in found]
    assert ["9", "19"] == [one.name for one in found if one.trouble]
    assert all(one.row.tolist() == [float(one.name)] for one in found if not one.trouble)
    assert [4, 4, 3, 4, 3, 3] == session.sizes


def test_a_photo_that_fails_is_run_alone():
    """The others of its batch are answered."""
    session = Recorder(bad=5)
    found: list[Answer] = []
    classify(PHOTOS[:8], decode, stacked(session.run), 4, 2, found.append)

    assert [("5", "It failed.")] == [(one.name, one.trouble) for one in found if one.trouble]
    assert [4, 4, 1, 1, 1, 1] == session.sizes


def test_a_lost_device_ends_the_run():
    """Nothing else would succeed."""
    found: list[Answer] = []
    session = Recorder(bad=5, error=DeviceLostError)

    with pytest.raises(DeviceLostError):
        classify(PHOTOS, decode, stacked(session.run), 4, 2, found.append)

    assert ["0", "1", "2", "3"] == [one.name for one in found]


def test_a_model_of_single_images_gets_them_one_by_one():
    """A batch of black images shows it."""
    session = Recorder()

    assert 8 == largest_batch(session.run, 4, 8)
    assert 1 == largest_batch(Recorder(bad=0).run, 4, 8)
