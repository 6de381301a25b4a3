"""How long work takes where other processes disturb it."""

import time
from collections.abc import Callable


def least_seconds(
    work: Callable[[], object],
    rounds: int = 5,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the least seconds of some rounds: other processes only ever add time.

    The rounds of `warm_up` come first and pay for caches and threads.
    """
    for _ in range(warm_up):
        work()
    least = float("inf")
    for _ in range(rounds):
        began = clock()
        work()
        least = min(least, clock() - began)
    return least
