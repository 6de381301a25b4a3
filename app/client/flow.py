"""How many photos are in flight to one server, and from when on more may be sent."""

import asyncio
from typing import Final

_GROWTH: Final = 0.05
"""Part of a place that an answer adds: one more photo in flight after 20 answers."""


class Flow:
    """Places for photos in flight: fewer as soon as the server refuses, slowly more again.

    A photo waits for its next try outside, so that others have its place meanwhile.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = float(most)
        self._in_flight = 0
        self._round = 0
        self._open_at = 0.0
        self._changed = asyncio.Event()

    async def enter(self) -> int:
        """Wait for a place; return the round, which `refused` wants to know."""
        loop = asyncio.get_running_loop()
        while True:
            wait = self._open_at - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            elif self._in_flight >= int(self._places):
                self._changed.clear()
                await self._changed.wait()
            else:
                self._in_flight += 1
                return self._round

    def leave(self) -> None:
        """Give the place back."""
        self._in_flight -= 1
        self._changed.set()

    def answered(self) -> None:
        """Note that the server keeps up."""
        self._places = min(self._most, self._places + _GROWTH)

    def refused(self, began: int, seconds: float, *, client: bool) -> None:
        """Note a refusal; the server can do more after `seconds`.

        Half as many are sent from now on: there were too many at once. Nobody sends until then if
        the server refuses this client, or if it refuses one photo at a time. Several refusals of
        the same round, those of photos sent before the first of them, count once.
        """
        if client or self._places < 2:  # noqa: PLR2004 (no half of one)
            self._open_at = max(self._open_at, asyncio.get_running_loop().time() + seconds)
        elif began == self._round:
            self._places = max(1.0, self._places / 2)
            self._round += 1
