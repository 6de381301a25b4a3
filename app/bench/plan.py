"""What is to be measured: loads, times, and when an open loop sends."""

import math
import random
from dataclasses import dataclass
from typing import TypeAlias

from app.errors import SetupError

MAX_IN_FLIGHT = 1000
"""Most requests of an open loop at a time; what would be one more is counted as not sent."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Clients that each send their next request as soon as they have their answer.

    Attributes:
        connections: How many of them.
    """

    connections: int

    kind = "closed"

    @property
    def value(self) -> float:
        """What a sweep varies."""
        return self.connections

    @property
    def label(self) -> str:
        """How a table names it."""
        return f"{self.connections} connection{'s' if self.connections > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Open:
    """Requests that come when they come, whether or not earlier ones were answered.

    Attributes:
        rate: Mean arrivals per second; the times between them are exponential (Poisson).
    """

    rate: float

    kind = "open"

    @property
    def value(self) -> float:
        """What a sweep varies."""
        return self.rate

    @property
    def label(self) -> str:
        """How a table names it."""
        return f"{self.rate:g}/s"


Load: TypeAlias = Closed | Open


@dataclass(frozen=True, slots=True)
class Plan:
    """Which loads, how long and how often.

    Attributes:
        loads: Measured in this order, all of them once before any of them again.
        seconds: Length of what is counted of a run.
        warmup: Seconds of load before that, which are not counted.
        timeout: Seconds after which a request is given up.
        repeats: How often each load is measured.
        max_in_flight: Most requests of an open loop at a time.
        seed: Of the arrivals and of the order of the pictures.
    """

    loads: tuple[Load, ...]
    seconds: float = 20
    warmup: float = 2
    timeout: float = 30
    repeats: int = 3
    max_in_flight: int = MAX_IN_FLIGHT
    seed: int = 1


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times of a Poisson process, in seconds from its start, ascending.

    Args:
        rate: Mean arrivals per second, above 0.
        seconds: No arrival is later than this.
        seed: The same seed draws the same times, on every machine.
    """
    draw = random.Random(seed).random  # noqa: S311 (load, not cryptography)
    arrivals = []
    due = -math.log(1 - draw()) / rate
    while due < seconds:
        arrivals.append(due)
        due -= math.log(1 - draw()) / rate
    return arrivals


def choose_loads(connections: int, sweep: str | None, rates: list[str] | None) -> tuple[Load, ...]:
    """Read the options that say which loads to measure.

    Args:
        connections: Of a single closed loop, if there is nothing else.
        sweep: Numbers of connections, comma-separated.
        rates: Arrivals per second, each entry comma-separated.

    Raises:
        SetupError: If they exclude each other, or a number is none.
    """
    if sweep and rates:
        raise SetupError("--sweep is a closed loop and --rate an open one: give one of them.")
    if rates:
        return tuple(Open(_positive(part, "--rate")) for part in ",".join(rates).split(","))
    if sweep:
        counts = [_positive(part, "--sweep") for part in sweep.split(",")]
        if any(count % 1 for count in counts):
            raise SetupError(f"--sweep {sweep}: a number of connections is a whole number.")
        return tuple(Closed(int(count)) for count in counts)
    return (Closed(connections),)


def _positive(text: str, option: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise SetupError(f"{option}: {text.strip()!r} is no number above 0.")
    return number
