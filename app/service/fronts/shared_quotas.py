"""How often a client may ask, with several processes that answer it."""

from collections.abc import Callable

from app.web.rate_limit import Quotas


class SharedQuotas(Quotas):
    """Quotas of which every front process learns what the others gave out, a moment later."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], tell: Callable[[str, int], None]
    ) -> None:
        """Begin with full buckets.

        Args:
            rate: Tokens a second, all processes together.
            burst: Tokens of a full bucket.
            clock: Seconds, never backwards.
            tell: Called with a client and the tokens it took; negative if it gave them back.
        """
        super().__init__(rate, burst, clock)
        self._tell = tell

    def take(self, client: str) -> float:
        """Take a token, tell, and return 0; or take none and return the seconds until there is one."""
        wait = super().take(client)
        if not wait:
            self._tell(client, 1)
        return wait

    def give_back(self, client: str) -> None:
        """Put back a token, in every process."""
        super().give_back(client)
        self._tell(client, -1)
