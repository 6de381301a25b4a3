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
TOLERANCE: Final = {"float32": 1e-3, "float16": 3e-2}
"""Largest difference between a logit and its parts, as a share of these, by precision."""


def warm_up_explainers(
    explainers: Sequence[Explainer],
    golden: Pixels,
    classes: int,
    largest: int,
    precision: str,
) -> tuple[RunCost, float]:
    """Explain a photo alone and in a full batch, with each explainer; with and without cells.

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
    seconds: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for explainer in explainers:
        for size in (1, 1, largest):  # the first pays for caches and threads
            for cells in (True, False):
                evidence, took = _explain(explainer, golden, size, asked, cells=cells)
                seconds[cells][size * asked] = took
                if cells:
                    _check(evidence, TOLERANCE[precision])
    factor = max(seconds[True][size] / seconds[False][size] for size in seconds[True])
    return RunCost.fit(seconds[False]), max(1.0, factor)


def _explain(
    explainer: Explainer, golden: Pixels, size: int, asked: int, *, cells: bool
) -> tuple[Evidence, float]:
    batch = np.repeat(golden[np.newaxis], size, axis=0)
    rows, features = explainer.run_keeping(batch)
    classes = np.argsort(-rows, axis=1, kind="stable")[:, :asked].astype(np.int64)
    images, nothing = np.arange(size, dtype=np.int64), np.full_like(classes, -1)
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
