"""What happens between loading a model and calling it ready: warm up, measure, test."""

import logging
import time
from collections.abc import Collection
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import RunFailedError
from app.records import PixelBatch, Pixels, Probabilities, ProbabilityBatch, Run
from app.serving.batching.costs import RunCost
from app.setup_errors import SessionError

log = logging.getLogger(__name__)

GOLDEN_PHOTO: Final = Path(__file__).resolve().parent / "self_test.jpg"
"""A cat, which every network trained on ImageNet recognises; manifests may name another photo."""
GOLDEN_CLASSES: Final = range(281, 286)
"""ImageNet's five kinds of domestic cat, tabby to Egyptian cat."""

WORTH_IT: Final = 0.98
"""A smaller batch size is chosen if it reaches this share of the best throughput."""
DISPATCH_SECONDS: Final = 0.0005
"""What a run costs a busy service beside the session, mostly two thread switches.

With a network of 1.7 ms per image, this made batches of 2 slower by 10 % than batches of 4, while
the session alone is as fast with both.
"""
SUM_TOLERANCE: Final = 1e-3
_EXACT: Final = 1e-5  # what float32 leaves of a sum of 1
BATCH_TOLERANCE: Final = {"float32": 1e-4, "float16": 5e-3, "int8": 1e-4}
"""Largest difference that the other images of a batch may make to a probability, by precision."""
OWN_TOLERANCE: Final = 0.1
"""Largest difference from a classifier's own probability, as a share of its largest: on another
device an 8-bit network rounds some values to the other side."""
_ROUNDS: Final = 5
_ENOUGH_SECONDS: Final = 2.0
"""No further round starts after this."""


def warm_up(
    run: Run,
    crop: int,
    *,
    max_batch_size: int | None,
    longest_run: float,
    ceiling: int,
) -> tuple[tuple[int, ...], RunCost]:
    """Run every batch size that will ever be used, and choose the largest of them.

    Without `max_batch_size` it is the smallest up to the ceiling that reaches WORTH_IT of the best
    throughput, with runs of at most `longest_run` seconds. Every round starts with the largest,
    whose memory the others then use.

    Returns:
        The batch sizes, ascending, and the cost of a run.

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
    known: Collection[int] = (),
    tolerance: float = BATCH_TOLERANCE["float32"],
    own: tuple[PixelBatch, ProbabilityBatch] | None = None,
    sharper: float = 1.0,
) -> None:
    """Check the model's answers to a photo at every batch size.

    Rows have to be finite and to sum to 1, other images in the batch must not change them, and
    `golden`, a photo as the model's input, has to be of one of the classes `known`, if there are any.
    The graph of somebody's classifier has to answer as that itself did: `own` holds images, and its
    probabilities, which need not sum to 1 more exactly than they do there. A temperature below 1 makes
    each difference larger: `sharper` is by how much.

    Raises:
        SessionError: If a check fails.
    """
    noise = np.random.default_rng(0).integers(0, 256, (sizes[-1], *golden.shape), np.uint8)
    last: dict[int, Probabilities] = {}
    most_off = SUM_TOLERANCE
    if own is not None:
        _compare(run, *own, OWN_TOLERANCE * sharper)
        if np.abs(own[1].sum(axis=1) - 1).max() > _EXACT:
            most_off = np.inf  # it rounds them to 8 or 16 bits, or limits them
    for size in sorted({1, *sizes}, reverse=True):
        batch = noise[:size].copy()
        batch[-1] = golden
        rows = run(batch)
        if not np.isfinite(rows).all() or np.abs(rows.sum(axis=1) - 1).max() > most_off:
            raise SessionError(f"self-test: the probabilities of a batch of {size} do not sum to 1")
        last[size] = rows[-1]
    for size, row in last.items():
        if np.abs(row - last[1]).max() > tolerance * sharper:
            raise SessionError(
                f"self-test: a batch of {size} changes the result of an image; with"
                " VGG_MAX_BATCH_SIZE=1 each is run alone"
            )
    best = int(last[1].argmax())
    if known and best not in known:
        expected = ", ".join(map(str, known))
        raise SessionError(
            f"self-test: a photo of class {expected} was classified as class {best}; the weights,"
            " their preprocessing or the order of their classes differ from the manifest"
        )


def _compare(run: Run, images: PixelBatch, wanted: ProbabilityBatch, tolerance: float) -> None:
    """Compare the answers of a serving graph with those of the classifier inside."""
    for number, row in enumerate(wanted):
        served = run(images[number : number + 1])[0]
        worst = int(np.abs(served - row).argmax())
        if abs(served[worst] - row[worst]) > tolerance * row.max():
            raise SessionError(
                f"self-test: image {number} is of class {worst} with probability"
                f" {served[worst]:.2g}, by the classifier itself {row[worst]:.2g}; delete the"
                " serving graph, so that it is built again"
            )


def _accepted(run: Run, crop: int, sizes: list[int]) -> list[int]:
    """Run each size once and return those that the model accepts, the largest first."""
    accepted = []
    for size in reversed(sizes):
        try:
            _run_black(run, crop, size)
        except RunFailedError as exc:
            if size == 1:
                raise
            log.warning("the model does not accept a batch of %d: %s", size, exc.__cause__ or exc)
        else:
            accepted.append(size)
    return accepted


def _run_black(run: Run, crop: int, size: int) -> None:
    """Run a batch once; a last Reshape of a fixed size can make one long row of all images."""
    rows = run(np.zeros((size, crop, crop, 3), np.uint8))
    if len(rows) != size:
        raise RunFailedError(f"the model gives {len(rows)} rows for {size} images")


def _measure(run: Run, crop: int, sizes: list[int]) -> dict[int, float]:
    """Return the seconds of each size, the least of a few rounds: other load only adds to them."""
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
