"""Calibration figures are scikit-learn's and scipy's.

Reference values: scikit-learn 1.9.1 and scipy 1.17.1 on the answers of conftest.py, computed apart.
"""

import numpy as np
import pytest

from app.evaluation.calibration import (
    advice,
    brier,
    calibration,
    calibration_error,
    equal_mass,
    equal_width,
    nll,
    temperature,
)
from tests.evaluation.conftest import made


@pytest.fixture(scope="module")
def answers():
    rows, labels = made()
    return rows, rows.argmax(axis=1) == labels, labels


def test_errors_of_calibration_are_those_of_scikit_learn(answers):
    """calibration_curve with 15 bins, uniform and quantile, weighted by the photos in each bin."""
    rows, right, _ = answers
    sure = rows.max(axis=1).astype(float)
    found = [calibration_error(sure, right, edges) for edges in (equal_width(), equal_mass(sure))]

    assert [0.1759546993374824, 0.18019219857454308] == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("photos", [15, 100, 3000])
@pytest.mark.parametrize("seed", [1, 2])
def test_errors_are_those_of_scikit_learn_on_other_answers(sklearn, photos, seed):
    """Computed now, with scikit-learn's curve and numpy's counts: equal width, equal mass, Brier, NLL."""
    rows, labels = made(photos, seed=seed)
    sure, right = rows.max(axis=1).astype(float), rows.argmax(axis=1) == labels
    steps = np.linspace(0, 1, 16)
    for strategy, edges, ours in (
        ("uniform", steps, equal_width()), ("quantile", np.percentile(sure, 100 * steps), equal_mass(sure))
    ):  # fmt: skip
        hits, says = sklearn.calibration.calibration_curve(
            right, sure, n_bins=15, strategy=strategy
        )
        counts = np.bincount(np.searchsorted(edges[1:-1], sure), minlength=15)
        error = (np.abs(hits - says) * counts[counts > 0]).sum() / photos
        assert error == pytest.approx(calibration_error(sure, right, ours), abs=1e-9)
    exact = rows / rows.sum(axis=1, keepdims=True, dtype=np.float64)
    options: dict[str, object] = {"labels": range(7)}
    assert sklearn.metrics.log_loss(labels, exact, **options) == pytest.approx(
        nll(rows, labels),
        abs=1e-6,  # rows of float32 sum to 1 within that
    )
    assert sklearn.metrics.brier_score_loss(labels, exact, scale_by_half=False, **options) == pytest.approx(
        brier(rows, labels), abs=1e-6
    )  # fmt: skip


def test_the_temperature_is_the_root_that_scipy_finds():
    """The NLL there is the smallest: scipy's bounded search finds the same T."""
    optimize = pytest.importorskip("scipy.optimize", reason="no scipy")
    rows, labels = made(photos=400, seed=3)
    theirs = optimize.minimize_scalar(
        lambda inverse: nll(rows, labels, inverse), bounds=(0.01, 10), method="bounded", options={"xatol": 1e-10}
    )  # fmt: skip

    assert 1 / theirs.x == pytest.approx(temperature(rows, labels), rel=1e-6)


def test_a_value_on_an_edge_belongs_to_the_bin_below():
    """As in Guo's definition; 1 is in the last bin."""
    edges = equal_width(2)
    found = calibration_error(np.array([0.5, 0.6, 1.0]), np.array([1, 0, 1], bool), edges)

    assert (abs(1 - 0.5) + abs(1 - 0.6 - 1.0)) / 3 == pytest.approx(found, abs=1e-12)


def test_brier_and_nll_are_those_of_scikit_learn(answers):
    """brier_score_loss with scale_by_half=False, and log_loss."""
    rows, _, labels = answers
    found = [brier(rows, labels), nll(rows, labels)]

    assert [0.7343553644990167, 1.8415796381347955] == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("start", [1.0, 0.05, 50.0])
def test_the_temperature_is_that_of_scipy(answers, start):
    """The root of the derivative of NLL by brentq, from wherever Newton's method begins."""
    rows, _, labels = answers
    found = temperature(rows, labels, start)

    assert 1.9670571463171878 == pytest.approx(found, abs=1e-9)
    assert 1.694578630906472 == pytest.approx(nll(rows, labels, 1 / found), abs=1e-9)


def test_a_probability_of_0_is_no_infinite_loss():
    """Nor is a temperature without a limit proposed, where every answer is right."""
    rows = np.tile(np.array([1, 0, 0], np.float32), (200, 1))

    assert np.isfinite(nll(rows, np.full(200, 1)))
    assert 0.01 <= temperature(rows, np.zeros(200, int)) <= 100
    assert np.isfinite(temperature(rows, np.full(200, 1)))


def test_the_report_measures_the_temperature_on_other_photos(answers):
    """It lowers NLL there too; bins hold all photos; the interval holds the error's size."""
    found = calibration(*answers)

    assert found["temperature"]["nll"] < found["nll"]
    assert 1.694578630906472 < found["temperature"]["nll"]
    assert 500 == sum(one["n"] for one in found["bins"])
    assert found["ece_low"] < found["ece"] < found["ece_high"]


@pytest.mark.parametrize(
    ("found", "applied", "ece", "averaged", "manifest", "told"),
    [
        (1.0703, 1.0, 0.1, False, 1.0703, "write temperature = 1.0703 into the manifest"),
        (1.1, 1.5, 0.1, False, 1.65, "the manifest's temperature, 1.5, which alone was applied"),
        (1.1, 1.5, 0.1, False, 1.65, "write temperature = 1.65 (the product of both) into"),
        (1.1, 1.0, 0.2, False, 1.1, "ECE would be no lower: leave the manifest as it is, or,"),
        (0.9999, 0.875, 0.1, False, 0.8749, "It is as good as 1: leave the manifest as it is"),
        (1.1, 1.0, 0.1, True, None, "find that of the manifest with --test single"),
        (30.0, 1.0, 0.1, False, None, "A manifest takes 0.05 to 20"),
        (0.04, 1.0, 0.1, False, None, "A manifest takes 0.05 to 20"),
    ],
)
def test_the_manifest_needs_the_product(found, applied, ece, averaged, manifest, told):
    """Of what was applied and what was found, unless it is of averages, or no manifest takes it."""
    figures = {"ece": 0.2, "temperature": {"value": found, "ece": ece}}
    made = advice(figures, applied, averaged=averaged)

    assert (applied, manifest) == (made["applied"], made["manifest"])
    assert told in made["sentence"]


def test_few_photos_get_no_temperature(answers):
    """Below 100 it would be noise."""
    rows, right, labels = answers

    assert calibration(rows[:99], right[:99], labels[:99])["temperature"] is None
