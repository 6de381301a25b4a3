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

    Args:
        work: The work of a round.
        rounds: Rounds that are measured.
        warm_up: Rounds before those, which pay for caches and threads.
        clock: Returns seconds.
    """
    for _ in range(warm_up):
        work()
    least = float("inf")
    for _ in range(rounds):
        began = clock()
        work()
        least = min(least, clock() - began)
    return least
