"""Photos with several right answers are counted as Beyer et al. count them."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.evaluation.accuracy import share
from app.evaluation.dataset import Photo
from app.evaluation.real import read_real, real_accuracy
from app.setup_errors import LabelsError
from tests.evaluation.conftest import made

CLASSES = 7


def photos(*names):
    return [Photo(Path("place") / name, name, 0) for name in names]


def write(tmp_path, what):
    path = tmp_path / "real.json"
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


def test_a_first_answer_is_right_if_it_is_one_of_the_labels():
    """And a photo without a label counts nowhere; compared with a plain loop."""
    rows, labels = made(500, CLASSES)
    sets = [frozenset({int(one), (int(one) * 3) % CLASSES} if n % 5 else ()) for n, one in enumerate(labels)]  # fmt: skip
    found = real_accuracy(rows, sets)
    one = five = n = 0
    for row, right in zip(rows, sets, strict=True):
        if right:
            first = sorted(range(CLASSES), key=row.tolist().__getitem__, reverse=True)[:5]
            n, one, five = n + 1, one + (first[0] in right), five + bool(right & {*first})

    assert (n, 100) == (found["n"], found["left_out"])
    assert (one / n, five / n) == (found["top1"]["value"], found["top5"]["value"])
    assert share(one, n).high == found["top1"]["high"]


def test_without_any_label_there_is_no_figure():
    """The report says how many were left out."""
    found = real_accuracy(np.eye(3, dtype=np.float32), [frozenset()] * 3)

    assert {"n": 0, "left_out": 3, "top1": None, "top5": None} == found


def test_ilsvrcs_photos_are_found_by_their_number(tmp_path):
    """Some of them, in folders of classes, in any order; others by the order of their file names."""
    path = write(tmp_path, [[0], [1, 2], [], [3]])
    some = photos("n02/ILSVRC2012_val_00000004.JPEG", "n01/ILSVRC2012_val_00000002.JPEG")

    assert [{3}, {1, 2}] == read_real(path, some, CLASSES)
    assert [{3}, {0}, set(), {1, 2}] == read_real(
        path, photos("a/z.jpg", "b/a.jpg", "c/y.jpg", "d/b.jpg"), CLASSES
    )


def test_names_may_have_their_labels(tmp_path):
    """In an object, which may have more."""
    path = write(tmp_path, {"a.jpg": [6], "b.jpg": [], "c.jpg": [1]})

    assert [set(), {6}] == read_real(path, photos("b.jpg", "a.jpg"), CLASSES)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no JSON", "cannot be read as JSON"),
        ("3", "expected a list of lists"),
        ([[0]], "has 1 lists, and there are 2 photos"),
        ([[0], 1], "has no list of class indices for b.jpg"),
        ({"a.jpg": [0]}, "has no list of class indices for b.jpg"),
        ([[0], [7]], r"b.jpg has \[7\], expected indices from 0 to 6"),
        ([[0], [True]], "b.jpg has"),
        ([[0], ["tench"]], "b.jpg has"),
    ],
)
def test_another_file_is_told(tmp_path, what, sentence):
    """Before any photo is classified."""
    with pytest.raises(LabelsError, match=sentence):
        read_real(write(tmp_path, what), photos("a.jpg", "b.jpg"), CLASSES)


def test_a_number_that_the_file_does_not_have_is_told(tmp_path):
    """It is of fewer photos."""
    with pytest.raises(LabelsError, match="has 1 lists, and none for photo 2"):
        read_real(write(tmp_path, [[0]]), photos("ILSVRC2012_val_00000002.JPEG"), CLASSES)
