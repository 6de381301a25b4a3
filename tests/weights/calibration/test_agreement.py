"""The four numbers are what they say, and too few same answers end the start."""

import json

import numpy as np
import pytest

from app.setup_errors import CalibrationError
from app.weights.calibration.agreement import (
    AGREEMENT_FILE,
    Agreement,
    compare,
    read_agreement,
    save_agreement,
)

EXACT = np.array([[0.5, 0.2, 0.1, 0.1, 0.06, 0.04], [0.4, 0.3, 0.1, 0.1, 0.07, 0.03]], np.float32)


def agreement(same_first: float = 0.97) -> Agreement:
    """Say how far an imaginary graph agrees."""
    return Agreement("6 built-in samples", "ab" * 32, 84, 21, same_first, 0.85, 0.0123, 0.2)


def test_equal_answers():
    """Nothing differs."""
    same = {"same_first": 1.0, "same_five": 1.0, "mean_difference": 0.0, "largest_difference": 0.0}
    assert same == compare(EXACT, EXACT)


def test_other_order():
    """The first two change places in one of two images: the five are the same."""
    other = EXACT.copy()
    other[1, :2] = [0.35, 0.36]
    found = compare(EXACT, other)

    assert (0.5, 1.0) == (found["same_first"], found["same_five"])
    assert pytest.approx(0.025) == found["mean_difference"]
    assert pytest.approx(0.06) == found["largest_difference"]


def test_another_class_among_the_five():
    """The sixth becomes the fifth: the first answer is the same, the five are not."""
    other = EXACT.copy()
    other[0, 4:] = [0.04, 0.06]

    assert (1.0, 0.5) == tuple(compare(EXACT, other)[name] for name in ("same_first", "same_five"))


def test_fewer_classes_than_five():
    """All classes are compared."""
    assert 1.0 == compare(EXACT[:, :3], EXACT[:, :3])["same_five"]


def test_what_is_saved_is_read(tmp_path):
    """The numbers are stored beside the graph; a graph of another precision has none."""
    save_agreement(tmp_path, agreement())

    assert agreement() == read_agreement(tmp_path)
    assert 84 == json.loads((tmp_path / AGREEMENT_FILE).read_text())["calibrated"]
    assert read_agreement(tmp_path / "none") is None


def test_line():
    """A line of the log has every number with its unit."""
    line = (
        "int8 gives float32's first answer for 97.0 % of 105 images, its five for 85.0 %; a probability"
        " differs by 0.0123 on average, by 0.200 at most; calibrated on 6 built-in samples"
    )
    assert line == str(agreement())


def test_90_per_cent_of_first_answers_are_needed():
    """One image fewer than that ends the start, with the numbers and what to do."""
    agreement(0.9).check()
    with pytest.raises(
        CalibrationError, match=r"89\.9 %.* needs 90 %\..*VGG_CALIBRATION_DIR.*float32"
    ):
        agreement(0.899).check()
