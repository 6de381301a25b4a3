"""A paired comparison has the figures of statsmodels, and names the photos whose answer changed.

Reference values: statsmodels 0.15.0 (mcnemar), computed apart.
"""

import numpy as np
import pytest

from app.evaluation.classes import Classes
from app.evaluation.compare import Side, compare, difference_interval, mcnemar_chi2, mcnemar_exact
from tests.evaluation.conftest import LABELS, made

MCNEMAR = [
    (10, 25, 0.016673847800120715, 0.01796047752607879),
    (3, 3, 1.0, 0.6830913983096086),
    (0, 1, 1.0, 1.0),
    (120, 80, 0.005685155996750306, 0.005820666407810877),
    (1200, 1400, 9.44223476534101e-05, 9.512121836463195e-05),
]


@pytest.mark.parametrize(("lost", "won", "exact", "chi2"), MCNEMAR)
def test_mcnemar_is_that_of_statsmodels(lost, won, exact, chi2):
    """Exact, and by chi-squared with the correction."""
    found = [mcnemar_exact(lost, won), mcnemar_chi2(lost, won)]

    assert [exact, chi2] == pytest.approx(found, abs=1e-9)


def test_mcnemar_is_scipys(stats):
    """Binomtest of all small splits and some large ones, and the tail of chi-squared, to 1e-9."""
    splits = [(lost, won) for lost in range(12) for won in range(12) if lost + won]
    for lost, won in [*splits, (0, 300), (1200, 1400), (5000, 5001)]:
        chi2 = (abs(won - lost) - 1) ** 2 / (won + lost)
        theirs = stats.binomtest(lost, lost + won).pvalue, stats.chi2.sf(chi2, 1)
        ours = mcnemar_exact(lost, won), mcnemar_chi2(lost, won)
        assert theirs == pytest.approx(ours, abs=1e-9), (lost, won)


def test_without_a_difference_there_is_no_doubt():
    """No photo is right on one side alone."""
    assert (1.0, 1.0) == (mcnemar_exact(0, 0), mcnemar_chi2(0, 0))
    assert (0.0, 0.0) == difference_interval(0, 0, 10)


def test_the_interval_is_that_of_the_normal_distribution():
    """Of many photos: 1.96 standard errors of the paired difference."""
    n, lost, won = 10_000, 300, 500
    middle = (won - lost) / n
    half = 1.959964 * np.sqrt(((won + lost) / n - middle**2) / n)

    expected = pytest.approx(difference_interval(lost, won, n), abs=3e-4)
    assert (middle - half, middle + half) == expected


def test_changed_answers_are_named(classes):
    """What became wrong comes first; a model with its classes in another order is no change."""
    rows, labels = made(40)
    order = np.array([6, 5, 4, 3, 2, 1, 0])
    second = rows[:, order].copy()
    second[0] = np.roll(second[0], 1)
    other = Classes([LABELS[one] for one in order])
    names = [f"{number}.jpg" for number in range(40)]
    found = compare(names, Side(rows, labels, classes), Side(second, 6 - labels, other))
    [changed] = found["changed"]["photos"]

    assert ("0.jpg", 1, 40) == (changed["name"], found["changed"]["count"], found["n"])
    assert changed["first"] != changed["second"]
    assert LABELS[int(labels[0])].text == changed["label_text"]
    split = found["mcnemar"]
    assert found["difference"]["top1"] == pytest.approx(
        (split["only_second_right"] - split["only_first_right"]) / 40
    )


def test_losses_come_before_gains(classes):
    """Of all answers that changed."""
    rows, labels = made(200)
    other = np.roll(rows, 1, axis=1)
    found = compare([""] * 200, Side(rows, labels, classes), Side(other, labels, classes))
    right = [one["right"] for one in found["changed"]["photos"]]

    assert sorted(right, key=["first", "second", "neither"].index) == right
    assert 200 == len(right)
