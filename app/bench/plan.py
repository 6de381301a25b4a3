"""The plan of a measurement: loads, durations, and when an open loop sends."""

import math
import random
from dataclasses import dataclass
from typing import TypeAlias

from app.errors import SetupError


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each of which sends its next request as soon as it has its answer."""

    value: int
    kind = "closed"

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.value} connection{'s' if self.value > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Open:
    """So many requests per second, at random times, whether or not earlier ones were answered.

    The times between them are exponential (Poisson).
    """

    value: float
    kind = "open"

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.value:g}/s"


Load: TypeAlias = Closed | Open


@dataclass(frozen=True, slots=True)
class Plan:
    """Loads, durations and repeats.

    Attributes:
        seconds: Seconds per run that count, after the warm-up.
        timeout: Seconds after which a request fails.
        repeats: Rounds; each measures all loads in their order.
        max_in_flight: Most requests of an open loop at a time; further ones are not sent.
        seed: Seed of the arrivals and of the order of the pictures.
    """

    loads: tuple[Load, ...]
    seconds: float = 20
    warmup: float = 2
    timeout: float = 30
    repeats: int = 3
    max_in_flight: int = 1000
    seed: int = 1


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times of a Poisson process, in seconds from its start, ascending.

    The same seed draws the same times on every machine.
    """
    draw = random.Random(seed).random  # noqa: S311 (load, not cryptography)
    arrivals = []
    due = 0.0
    while (due := due - math.log(1 - draw()) / rate) < seconds:
        arrivals.append(due)
    return arrivals


def choose_loads(connections: int, sweep: str | None, rates: list[str] | None) -> tuple[Load, ...]:
    """Return the loads of --sweep or --rate, or else one closed loop."""
    if sweep and rates:
        raise SetupError("--sweep is for closed loops and --rate for open ones. Give one of them.")
    if rates:
        return tuple(Open(_positive(part, "--rate")) for part in ",".join(rates).split(","))
    if sweep:
        counts = [_positive(part, "--sweep") for part in sweep.split(",")]
        if any(count % 1 for count in counts):
            raise SetupError(f"--sweep {sweep}: expected whole numbers of connections.")
        return tuple(Closed(int(count)) for count in counts)
    return (Closed(connections),)


def _positive(text: str, option: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise SetupError(f"{option}: {text.strip()!r} is not a number above 0.")
    return number
