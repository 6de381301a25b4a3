"""Labels that are wrong, photos that are there twice, and files that are damaged are found."""

import numpy as np

from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.evaluation.faults import damaged, duplicates, suspects
from app.evaluation.run import NO_ROW


def _answer(name, sha256="", trouble=""):
    return Answer(name, (1, 1), sha256, (8, 8), "png", trouble, NO_ROW)


def test_the_least_probable_label_is_the_first_suspect(classes):
    """Labels that are the model's answer too are none, however unsure it is."""
    rows = np.full((4, 7), 0.1, np.float32)
    rows[0, 1], rows[1, 0], rows[2, 2], rows[3, 3] = 0.9, 0.01, 0.4, 0.95
    labels = np.array([0, 0, 2, 6])
    rows[3, 6] = 0.001
    found = suspects(["a", "b", "c", "d"], rows, labels, classes)

    assert ["d", "b", "a"] == [one["name"] for one in found]
    assert "n02123045" == found[0]["answer"]["wnid"]


def test_damaged_photos_are_named_with_the_reason():
    """Those that were classified are not."""
    found = damaged([_answer("a"), _answer("b", trouble="It is cut short.")])

    assert [{"name": "b", "why": "It is cut short."}] == found


def test_copies_with_different_labels_come_first(tmp_path, classes):
    """Files are the same if their bytes are."""
    photos = [
        Photo(tmp_path, name, label) for name, label in zip("abcde", [0, 0, 2, 3, 3], strict=True)
    ]
    answers = [_answer(name, sha256) for name, sha256 in zip("abcde", "xxyy_", strict=True)]
    found = duplicates(photos, answers, classes)

    assert (2, 2, 1) == tuple(
        found[k] for k in ("groups", "files_too_many", "with_different_labels")
    )
    assert [["c", "d"], ["a", "b"]] == [one["names"] for one in found["listed"]]
