"""Scales and ticks of a plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1, 2, 2.5, 5, 10)
_WIDE: Final = 30.0
"""Values that lie further apart than this factor get a logarithmic scale."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to a length.

    Attributes:
        low: Value at the begin.
        high: Value at the end, above low.
        logarithmic: Equal factors instead of equal steps.
        ticks: Values that are marked, ascending.
    """

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at low, 1 at high."""
        if self.logarithmic:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def value_scale(values: Sequence[float], count: int = 5) -> Scale:
    """Choose a scale that holds all values: from 0, or logarithmic if they lie far apart."""
    highest = max(values, default=0.0) or 1.0
    positive = [value for value in values if value > 0]
    if positive and highest / min(positive) > _WIDE:
        return _decades(min(positive), highest)
    step = _step(highest / count)
    high = step * math.ceil(highest / step * (1 - 1e-9))
    ticks = tuple(step * index for index in range(round(high / step) + 1))
    return Scale(0.0, high, logarithmic=False, ticks=ticks)


def load_scale(loads: Sequence[float], *, doubling: bool) -> Scale:
    """Choose a scale of the loads.

    Args:
        loads: At least one, above 0.
        doubling: Mark the loads themselves at equal factors, as suits 1, 4, 16, 64; instead
            of round numbers from 0.
    """
    if not doubling:
        return value_scale([max(loads)])
    low, high = min(loads), max(loads)
    if low == high:
        low, high = low / 2, high * 2
    return Scale(low, high, logarithmic=True, ticks=tuple(sorted(set(loads))))


def tick_label(value: float) -> str:
    """Write a tick: 2500 as 2,500 and 0.5 as 0.5."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _step(least: float) -> float:
    """Return the next round number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * step for step in _STEPS if power * step >= least * (1 - 1e-9))


def _decades(lowest: float, highest: float) -> Scale:
    begin, end = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    ticks = tuple(10.0**power for power in range(begin, end + 1))
    return Scale(ticks[0], ticks[-1], logarithmic=True, ticks=ticks)
