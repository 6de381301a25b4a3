"""When a failed try is followed by another, and when to give up.

Only new bytes earn more time. Bytes that come again and again, or a few now and then, do not:
they would keep a download alive for ever.
"""

import asyncio
import time
from typing import Final

FURTHER: Final = 10_000
"""New bytes that count as progress. With one try each 10 s that is 1 kB/s, a third of a modem of
1994."""


class Patience:
    """The time that is left for one file."""

    def __init__(self, timeout: float, patience: float, backoff: float) -> None:
        """Start the clock.

        Args:
            timeout: Seconds for all tries together, as long as no byte comes.
            patience: Seconds since the last progress, or since the start if the server named a
                time to come back.
            backoff: Seconds before the second try; doubles, up to 64 times this.
        """
        self.timeout = timeout
        self._patience = patience
        self._backoff = self._pause = backoff
        self._most = 0
        self._restart(timeout)

    def left(self) -> float:
        """Return the seconds that the next try may take until its first byte."""
        return min(self.timeout, self._since + self._budget - time.monotonic())

    async def wait(self, gained: int, asked: float) -> bool:
        """Wait until the next try; return False at once if there should be none.

        Args:
            gained: Bytes that have come.
            asked: Seconds for which the server asked; 0 if it did not.
        """
        if gained >= self._most + FURTHER:
            self._most = gained
            self._restart(self._patience)
        if asked:
            self._budget = self._patience
        pause = max(asked, self._pause)
        if time.monotonic() + pause >= self._since + self._budget:
            return False
        await asyncio.sleep(pause)
        self._pause = min(2 * self._pause, 64 * self._backoff)
        return True

    def _restart(self, budget: float) -> None:
        self._since = time.monotonic()
        self._budget = budget
        self._pause = self._backoff
