"""Flip rates are shares of answers that change; photos are drawn the same each time, and run in their order."""

from pathlib import Path

import numpy as np
import pytest

from app.evaluation.accuracy import share
from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.evaluation.run import NO_ROW
from app.evaluation.stress import answer_changed, flip_rates, sample

PHOTOS = [Photo(Path(str(number)), str(number), 0) for number in range(9)]


def change(photo):
    """Return three images, whose brightness says which; the fourth photo is damaged."""
    number = int(photo.name)
    if number == 3:
        return Answer(photo.name, (1, 1), "", (0, 0), "", "damaged", NO_ROW), None
    batch = np.array([number, 9, 0], np.uint8)[:, None, None, None] * np.ones(
        (1, 4, 4, 3), np.uint8
    )
    return Answer(photo.name, (1, 1), "", (0, 0), "", "", NO_ROW), batch


class Recorder:
    """Answers with the class that the brightness says."""

    def __init__(self):
        self.sizes = []

    def run(self, batch):
        self.sizes.append(len(batch))
        return np.eye(10, dtype=np.float32)[batch[:, 0, 0, 0]]


@pytest.mark.parametrize(("single", "sizes"), [(False, [3] * 8), (True, [1] * 24)])
def test_each_change_is_answered(single, sizes):
    """All of a photo in one run, or one by one for a model of single images."""
    session = Recorder()
    found: list[Answer] = []
    answer_changed(PHOTOS, change, session.run, 2, found.append, single=single)

    assert [photo.name for photo in PHOTOS] == [one.name for one in found]
    assert ["3"] == [one.name for one in found if one.trouble]
    assert [[n, 9, 0] for n in range(9) if n != 3] == [
        one.row.tolist() for one in found if not one.trouble
    ]
    assert sizes == session.sizes


def test_flip_rates_are_counted():
    """Changed answers and right ones, each with Wilson's interval."""
    before, labels = np.array([1, 1, 2, 3]), np.array([1, 1, 2, 2])
    after = np.array([[1, 1], [1, 0], [2, 2], [3, 2]])
    found = flip_rates({"none": "nothing", "some": "something"}, before, labels, after, 9)

    assert (4, 9, 0.75) == (found["n"], found["of"], found["top1"])
    assert [0, 0.5] == [one["flip_rate"]["value"] for one in found["changes"]]
    assert [0.75, 0.75] == [one["top1"]["value"] for one in found["changes"]]
    assert share(2, 4).high == found["changes"][1]["flip_rate"]["high"]
    assert ["nothing", "something"] == [one["title"] for one in found["changes"]]


def test_the_sample_is_the_same_each_time():
    """In the order of the photos, each once; all of them if there are few."""
    places = list(range(0, 1000, 3))
    drawn = sample(places, 50)

    assert drawn == sample(places, 50) == sorted(set(drawn) & set(places))
    assert 50 == len(drawn)
    assert places == sample(places, 1000)
