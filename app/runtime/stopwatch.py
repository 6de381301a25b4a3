"""How long work takes where neighbours disturb it."""

import time
from collections.abc import Callable


def least_seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the least seconds of a few rounds, after one more: neighbours only ever add."""
    work()
    least = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least
