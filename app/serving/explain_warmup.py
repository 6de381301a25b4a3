"""Measure what explanations cost, and check that they add up, before a model is ready."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from app.records import Evidence, Explainer, Pixels
from app.serving.batching.costs import RunCost
from app.setup_errors import SessionError

USUAL: Final = 5
"""Classes that are explained about an image in most requests."""
_ROUNDS: Final = 5
"""Each is measured so often, and the least counts: other load only adds to it."""
_ENOUGH_SECONDS: Final = 1.0
"""No further round starts after this."""
TOLERANCE: Final = {"float32": 1e-4, "float16": 3e-2}
"""Largest difference between a logit and its parts, as a share of these, by precision."""


def warm_up_explainers(
    explainers: Sequence[Explainer],
    golden: Pixels,
    classes: int,
    largest: int,
    precision: str,
) -> tuple[RunCost, float]:
    """Explain a photo once and as often as a batch has images; with and without cells.

    The evidence of a network is exact bookkeeping: its parts add up to the logit. That is checked
    without any reference.

    Args:
        explainers: One per lane; they cost the same.
        golden: A photo as the model's input.
        classes: That the model knows.
        largest: The largest batch size.
        precision: Of the model.

    Returns:
        The cost without cells, and how many times as long it takes with them.

    Raises:
        SessionError: If the parts do not add up.
        RunFailedError: If an explanation fails.
    """
    asked = min(USUAL, classes)
    least: dict[tuple[bool, int], float] = {}
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        for explainer in explainers:
            for size in (1, largest):
                for cells in (True, False):
                    evidence, took = _explain(explainer, golden, size, asked, cells=cells)
                    key = cells, size * asked
                    least[key] = min(took, least.get(key, took))
                    if cells:
                        _check(evidence, TOLERANCE[precision])
        if time.perf_counter() - began > _ENOUGH_SECONDS:
            break
    plain = {count: seconds for (cells, count), seconds in least.items() if not cells}
    factor = max(least[True, count] / seconds for count, seconds in plain.items())
    return RunCost.fit(plain), max(1.0, factor)


def _explain(
    explainer: Explainer, golden: Pixels, size: int, asked: int, *, cells: bool
) -> tuple[Evidence, float]:
    """Explain a photo as often as a batch has images; return the evidence and the seconds."""
    rows, features = explainer.run_keeping(golden[np.newaxis])
    best = np.argsort(-rows, axis=1, kind="stable")[:, :asked].astype(np.int64)
    classes = np.repeat(best, size, axis=0)
    images, nothing = np.zeros(size, np.int64), np.full_like(classes, -1)
    began = time.perf_counter()
    evidence = explainer.explain(features, images, classes, nothing, cells=cells)
    return evidence, time.perf_counter() - began


def _check(evidence: Evidence, tolerance: float) -> None:
    if evidence.cells is None or evidence.constants is None:
        raise SessionError("self-test: the evidence for a class has no parts")
    parts = evidence.cells.sum(axis=(2, 3)) + evidence.constants
    scale = np.abs(evidence.cells).sum(axis=(2, 3)) + np.abs(evidence.constants)
    off = np.abs(parts - evidence.logits)
    if not (off <= tolerance * scale).all():
        raise SessionError(
            "self-test: the evidence for a class does not add up to its logit; delete the serving"
            " graph, so that it is built again"
        )
