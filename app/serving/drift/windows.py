"""The last photos of one model, and how far they are from its baseline: the population stability index.

A window holds numbers of bins, each with the time at which its photo was answered, so that the windows
of several processes become one: the newest photos of all.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.weights.manifests.baseline import PROPERTIES

Photos: TypeAlias = NDArray[np.void]
"""[photos] of PHOTO, the oldest first."""

PHOTO: Final = np.dtype([("time", "<f8"), ("bins", "u1", (len(PROPERTIES),))])
"""Seconds on `time.monotonic`, which all processes of a machine share, and a bin for each property."""
MOST: Final = 1000
"""Photos of a window."""
LEAST: Final = 500
"""Photos below which an index is not a number: chance would move it."""
_FLOOR: Final = 0.01
"""Divided by the number of bins: the smallest share, since an empty bin has no logarithm."""


def newest(photos: Photos, more: Photos) -> Photos:
    """Return the newest of both, at most MOST."""
    both = np.concatenate([photos, more])
    return both[np.argsort(both["time"], kind="stable")[-MOST:]]


def stability_index(counts: NDArray[np.int64], expected: Sequence[float]) -> float:
    """Return the PSI of photos in bins against the shares that are expected of each.

    Source:
        sum((p - q) * ln(p / q)): the symmetric form of Kullback and Leibler's divergence (1951), which
        banks call population stability index; below 0.1 nothing has changed, above 0.25 much has.
    """
    least = _FLOOR / len(expected)
    is_share = np.maximum(counts / counts.sum(), least)
    was_share = np.maximum(expected, least)
    return float(((is_share - was_share) * np.log(is_share / was_share)).sum())


def encode(photos: Photos, expected: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return a window as JSON can hold it, with the shares that it is compared with."""
    return {"photos": base64.b64encode(photos.tobytes()).decode(), "expected": dict(expected)}


def join(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the window of two processes."""
    return encode(newest(_decode(one), _decode(other)), one["expected"])


def indexes(window: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield each property with its index, which is not a number for too few photos."""
    photos = _decode(window)
    for number, name in enumerate(PROPERTIES):
        expected = window["expected"][name]
        counts = np.bincount(photos["bins"][:, number], minlength=len(expected))
        yield name, stability_index(counts, expected) if len(photos) >= LEAST else float("nan")


def _decode(window: Mapping[str, Any]) -> Photos:
    return np.frombuffer(base64.b64decode(window["photos"]), PHOTO)
