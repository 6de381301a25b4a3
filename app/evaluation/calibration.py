"""Whether probabilities mean what they say: calibration errors, and a temperature that would lower them."""

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.evaluation.accuracy import Entry, Flags
from app.records import Numbers, ProbabilityBatch
from app.weights.manifests.manifest import TEMPERATURES

Values: TypeAlias = NDArray[np.float64]

BINS: Final = 15
"""Of Guo et al. 2017, arXiv 1706.04599."""
RESAMPLES: Final = 1000
_FOLDS: Final = 5
_LEAST_TO_FIT: Final = 100
"""Photos below which no temperature is proposed."""
_BLOCK: Final = 4_000_000
"""Probabilities that are computed with at a time, in float64."""
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""Stands for a probability of 0, whose logarithm there is not."""
_AS_GOOD_AS_1: Final = 0.005
"""Difference of a temperature that no interval of ECE shows."""
_STEPS: Final = 50
_CLOSE: Final = 1e-12
_RANGE: Final = (0.01, 100.0)
"""Limits of 1/T."""


def calibration(rows: ProbabilityBatch, right: Flags, labels: Numbers) -> Entry:
    """Return all figures of the report about calibration.

    Args:
        rows: float32 [N, classes].
        right: Whether the first answer is.
        labels: int64 [N].
    """
    sure = rows.max(axis=1).astype(np.float64)
    width, mass = equal_width(), equal_mass(sure)
    low, high = _interval(sure, right, width)
    return {
        "ece": calibration_error(sure, right, width),
        "ece_low": low,
        "ece_high": high,
        "ece_equal_mass": calibration_error(sure, right, mass),
        "bins": _diagram(sure, right, width),
        "brier": brier(rows, labels),
        "nll": nll(rows, labels),
        "mean_probability": float(sure.mean()),
        "resamples": RESAMPLES,
        "temperature": _proposal(rows, right, labels) if len(rows) >= _LEAST_TO_FIT else None,
    }


def equal_width(bins: int = BINS) -> Values:
    """Return the inner edges of bins of the same width; each holds its upper edge."""
    return np.linspace(0, 1, bins + 1)[1:-1]


def equal_mass(sure: Values, bins: int = BINS) -> Values:
    """Return the inner edges of bins that hold the same number of photos, ties aside."""
    # As scikit-learn computes them: rounding decides where a photo on an edge belongs.
    edges: Values = np.percentile(sure, np.linspace(0, 1, bins + 1) * 100)[1:-1]
    return edges


def calibration_error(sure: Values, right: Flags, edges: Values) -> float:
    """Return the expected calibration error: the mean gap between being sure and being right."""
    places = np.searchsorted(edges, sure)
    gaps = np.bincount(places, right - sure, len(edges) + 1)
    return float(np.abs(gaps).sum() / len(sure))


def brier(rows: ProbabilityBatch, labels: Numbers) -> float:
    """Return the mean squared distance from the label, summed over the classes: 0 to 2."""
    total = 0.0
    for part in _blocks(rows):
        values = rows[part].astype(np.float64)
        values[np.arange(len(values)), labels[part]] -= 1
        total += float((values**2).sum())
    return total / len(rows)


def nll(rows: ProbabilityBatch, labels: Numbers, inverse: float = 1.0) -> float:
    """Return the mean negative log-likelihood (nats) with logits divided by a temperature.

    Args:
        rows: float32 [N, classes].
        labels: int64 [N].
        inverse: 1/T. With 1 the probabilities are taken as they are.
    """
    total = 0.0
    for part in _blocks(rows):
        logs = _logs(rows[part])
        own = inverse * logs[np.arange(len(logs)), labels[part]]
        total -= float(own.sum())
        if inverse != 1:
            total += float(_log_sums(inverse * logs).sum())
    return total / len(rows)


def temperature(rows: ProbabilityBatch, labels: Numbers, start: float = 1.0) -> float:
    """Return the temperature T of the smallest NLL, by Newton's method on 1/T, in which NLL is convex.

    Args:
        rows: float32 [N, classes].
        labels: int64 [N].
        start: T to begin with.
    """
    inverse = 1 / start
    for _ in range(_STEPS):
        slope = curve = 0.0
        for part in _blocks(rows):
            logs = _logs(rows[part])
            scaled = inverse * logs
            shares = np.exp(scaled - _log_sums(scaled)[:, None])
            mean = (shares * logs).sum(axis=1)
            slope += float((mean - logs[np.arange(len(logs)), labels[part]]).sum())
            curve += float(((shares * logs**2).sum(axis=1) - mean**2).sum())
        if curve <= 0:
            break
        # A step further than to half or double overshoots, where the curve is flat.
        step = float(np.clip(inverse - slope / curve, inverse / 2, inverse * 2))
        step = float(np.clip(step, *_RANGE))
        done = abs(step - inverse) < _CLOSE * inverse
        inverse = step
        if done:
            break
    return 1 / inverse


def advice(figures: Entry, applied: float, *, averaged: bool) -> Entry:
    """Return which temperature a manifest needs for the one that is proposed, and a sentence about it.

    Args:
        figures: Of `calibration`, with a proposal: it comes on top of what was applied.
        applied: The temperature at which the model answered: 1 without one.
        averaged: Whether an answer is the mean of several views: the manifest's temperature is that of
            each view, before the mean.
    """
    found = figures["temperature"]
    wanted: float | None = round(applied * found["value"], 4)
    least, most = TEMPERATURES
    told = "It is a proposal, and was not applied."
    if applied != 1:
        told = f"It is a proposal on top of the manifest's temperature, {applied:g}, which alone was applied."
    product = "" if applied == 1 else " (the product of both)"
    use = f"To use it, write temperature = {wanted:g}{product} into the manifest."
    if averaged:
        wanted, use = None, "It is of these averages: find that of the manifest with --test single."
    elif not least <= applied * found["value"] <= most:
        wanted, use = None, f"A manifest takes {least:g} to {most:g}: are labels and weights right?"
    elif abs(found["value"] - 1) < _AS_GOOD_AS_1:
        use = "It is as good as 1: leave the manifest as it is."
    elif found["ece"] >= figures["ece"]:
        use = f"ECE would be no lower: leave the manifest as it is, or, for a lower NLL, write temperature = {wanted:g}{product}."
    return {"applied": applied, "manifest": wanted, "sentence": f"{told} {use}"}


def _proposal(rows: ProbabilityBatch, right: Flags, labels: Numbers) -> Entry:
    """Fit a temperature, and measure on photos that it was not fitted to what it changes."""
    found = temperature(rows, labels)
    folds = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
    losses, sure = 0.0, np.empty(len(rows))
    for fold in range(_FOLDS):
        held = folds == fold
        inverse = 1 / temperature(rows[~held], labels[~held], found)
        losses += nll(rows[held], labels[held], inverse) * int(held.sum())
        sure[held] = _surest(rows[held], inverse)
    return {
        "value": found,
        "nll": losses / len(rows),
        "ece": calibration_error(sure, right, equal_width()),
        "folds": _FOLDS,
    }


def _surest(rows: ProbabilityBatch, inverse: float) -> Values:
    """Return the largest probability of each row at a temperature."""
    parts = []
    for part in _blocks(rows):
        scaled = inverse * _logs(rows[part])
        parts.append(np.exp(scaled.max(axis=1) - _log_sums(scaled)))
    return np.concatenate(parts)


def _interval(sure: Values, right: Flags, edges: Values) -> tuple[float, float]:
    """Return the 95 % interval of the calibration error, by drawing the photos again and again."""
    rng, n = np.random.default_rng(0), len(sure)
    places, gaps = np.searchsorted(edges, sure), right - sure
    errors = np.empty(RESAMPLES)
    for one in range(RESAMPLES):
        drawn = rng.integers(0, n, n)
        sums = np.bincount(places[drawn], gaps[drawn], len(edges) + 1)
        errors[one] = np.abs(sums).sum() / n
    low, high = np.quantile(errors, (0.025, 0.975))
    return float(low), float(high)


def _diagram(sure: Values, right: Flags, edges: Values) -> list[Entry]:
    places = np.searchsorted(edges, sure)
    n = np.bincount(places, minlength=len(edges) + 1)
    says = np.bincount(places, sure, len(edges) + 1)
    hits = np.bincount(places, right, len(edges) + 1)
    uppers = [*edges.tolist(), 1.0]
    return [
        {
            "up_to": uppers[place],
            "n": int(count),
            "mean_probability": float(says[place] / count) if count else None,
            "top1": float(hits[place] / count) if count else None,
        }
        for place, count in enumerate(n)
    ]


def _blocks(rows: ProbabilityBatch) -> Iterator[slice]:
    size = max(1, _BLOCK // rows.shape[1])
    return (slice(start, start + size) for start in range(0, len(rows), size))


def _logs(rows: ProbabilityBatch) -> Values:
    return np.log(np.maximum(rows.astype(np.float64), _SMALLEST))


def _log_sums(logs: Values) -> Values:
    largest = logs.max(axis=1)
    sums: Values = largest + np.log(np.exp(logs - largest[:, None]).sum(axis=1))
    return sums
