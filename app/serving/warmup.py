"""What happens between loading a model and calling it ready: warm, measure, test."""

import logging
import time
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import RunFailedError, SessionError
from app.records import Pixels, Probabilities, Run
from app.serving.batching.costs import RunCost

log = logging.getLogger(__name__)

GOLDEN_PHOTO: Final = Path(__file__).resolve().parent / "self_test.jpg"
"""A cat; every network that was trained on ImageNet knows that."""
GOLDEN_CLASSES: Final = range(281, 286)
"""The five kinds of domestic cat, tabby to Egyptian cat."""

WORTH_IT: Final = 0.98
"""A smaller batch size wins if it reaches this part of the best throughput."""
DISPATCH_SECONDS: Final = 0.0005
"""What a run costs a busy service beside the session: two changes of thread, mostly.

By it, batches of 2 lost 10 % to batches of 4 with a network of 1.7 ms an image, for which the
session alone is as fast with both.
"""
SUM_TOLERANCE: Final = 1e-3
COMPANY_TOLERANCE: Final = {"float32": 1e-4, "float16": 5e-3}
"""Largest difference that company in a batch may make to a probability, by precision."""
_ROUNDS: Final = 5
_ENOUGH_SECONDS: Final = 2.0
"""No further round is begun after this."""


def warm_up(
    run: Run,
    crop: int,
    *,
    max_batch_size: int | None,
    longest_run: float,
    ceiling: int,
) -> tuple[tuple[int, ...], RunCost]:
    """Run every batch size that will ever be used, and choose the largest of them.

    In every round the largest comes first: its memory is then there for the others.

    Args:
        run: The session's.
        crop: Side of the images.
        max_batch_size: The largest batch size; None to choose it by measurement: the smallest
            that reaches WORTH_IT of the best throughput.
        longest_run: Seconds; a chosen size does not take longer than this.
        ceiling: No larger size is tried while choosing.

    Returns:
        The batch sizes, ascending, and what they cost.

    Raises:
        RunFailedError: If the model fails on a single image.
    """
    most = max_batch_size or ceiling
    sizes = [*takewhile(lambda size: size < most, (2**n for n in count())), most]
    seconds = _measure(run, crop, _accepted(run, crop, sizes))
    if max_batch_size is None:
        seconds = {n: cost for n, cost in seconds.items() if n == 1 or cost <= longest_run}
        rates = {n: n / (cost + DISPATCH_SECONDS) for n, cost in seconds.items()}
        largest = min(n for n, rate in rates.items() if rate >= WORTH_IT * max(rates.values()))
        seconds = {n: cost for n, cost in seconds.items() if n <= largest}
    return tuple(sorted(seconds)), RunCost.fit(seconds)


def self_test(
    run: Run,
    golden: Pixels,
    sizes: tuple[int, ...],
    *,
    trained: bool,
    tolerance: float = COMPANY_TOLERANCE["float32"],
) -> None:
    """Check on a photo that the model is in its right mind, at every batch size.

    Rows have to be finite and to sum to 1, company in the batch must not change them, and a
    trained model has to see a cat.

    Args:
        run: The session's.
        golden: GOLDEN_PHOTO as this model's input.
        sizes: The batch sizes.
        trained: Whether to ask for the cat.
        tolerance: Largest difference that company may make to a probability.

    Raises:
        SessionError: Saying which check failed.
    """
    noise = np.random.default_rng(0).integers(0, 256, (sizes[-1], *golden.shape), np.uint8)
    last: dict[int, Probabilities] = {}
    for size in sorted({1, *sizes}, reverse=True):
        batch = noise[:size].copy()
        batch[-1] = golden
        rows = run(batch)
        if not np.isfinite(rows).all() or np.abs(rows.sum(axis=1) - 1).max() > SUM_TOLERANCE:
            raise SessionError(f"self-test: the probabilities of a batch of {size} do not sum to 1")
        last[size] = rows[-1]
    for size, row in last.items():
        if np.abs(row - last[1]).max() > tolerance:
            raise SessionError(f"self-test: in a batch of {size} an image is not what it is alone")
    best = int(last[1].argmax())
    if trained and best not in GOLDEN_CLASSES:
        raise SessionError(
            f"self-test: a photo of a cat was taken for class {best}; the weights, their"
            " preprocessing or the order of their classes is not what the manifest says"
        )


def _accepted(run: Run, crop: int, sizes: list[int]) -> list[int]:
    """Run each size once and return those that the model takes, the largest first."""
    accepted = []
    for size in reversed(sizes):
        try:
            run(np.zeros((size, crop, crop, 3), np.uint8))
        except RunFailedError as exc:
            if size == 1:
                raise
            log.warning("the model takes no batch of %d: %s", size, exc.__cause__ or exc)
        else:
            accepted.append(size)
    return accepted


def _measure(run: Run, crop: int, sizes: list[int]) -> dict[int, float]:
    """Return the seconds of each size, the least of a few rounds: neighbours only ever add."""
    least = dict.fromkeys(sizes, float("inf"))
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        for size in sizes:
            batch = np.zeros((size, crop, crop, 3), np.uint8)
            start = time.perf_counter()
            run(batch)
            least[size] = min(least[size], time.perf_counter() - start)
        if time.perf_counter() - began > _ENOUGH_SECONDS:
            break
    return least
