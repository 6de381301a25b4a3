"""When a failed try is followed by another, and when to give up.

Only new bytes earn more time. Bytes that come again and again, or a few now and then, do not:
they would keep a download alive for ever.
"""

import time
from collections.abc import Callable
from typing import Final

FURTHER: Final = 10_000
"""New bytes that count as progress: at one try each 10 s, 1 kB/s, a third of a modem of 1994."""


class Patience:
    """The time that is left for one file."""

    def __init__(
        self,
        timeout: float,
        patience: float,
        backoff: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            timeout: Seconds for all tries together, as long as no byte comes.
            patience: Seconds since the last progress, or since the start if the server named a
                time to come back.
            backoff: Seconds before the second try; doubles, up to 64 times this.
            clock: Returns seconds.
        """
        self.timeout = timeout
        self._patience, self._backoff, self._clock = patience, backoff, clock
        self._since, self._budget, self._pause = clock(), timeout, backoff
        self._most = 0

    def left(self) -> float:
        """Return the seconds that the next try may take until its first byte."""
        return min(self.timeout, self._since + self._budget - self._clock())

    def pause(self, gained: int, asked: float) -> float | None:
        """Return the seconds to wait before the next try; None to give up.

        Args:
            gained: Bytes that have come.
            asked: Seconds for which the server asked; 0 if it did not.
        """
        if gained >= self._most + FURTHER:
            self._most = gained
            self._since, self._budget, self._pause = self._clock(), self._patience, self._backoff
        if asked:
            self._budget = self._patience
        pause = max(asked, self._pause)
        self._pause = min(2 * self._pause, 64 * self._backoff)
        return pause if self._clock() + pause < self._since + self._budget else None
