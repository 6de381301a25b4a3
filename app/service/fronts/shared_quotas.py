"""Rate limits that hold for all front processes together."""

from collections.abc import Callable

from app.web.rate_limit import Quotas


class SharedQuotas(Quotas):
    """Quotas that report each token, so that every other front can charge it a moment later."""

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: Callable[[], float],
        report: Callable[[str, int], None],
    ) -> None:
        """Start with full buckets.

        Args:
            rate: Tokens per second, in all processes together.
            burst: Tokens in a full bucket.
            clock: Seconds, never backwards.
            report: Called with a client and the tokens it took; negative if it gave them back.
        """
        super().__init__(rate, burst, clock)
        self._report = report

    def take(self, client: str) -> float:
        """Take a token and report it, or return the seconds until the client has one."""
        wait = super().take(client)
        if not wait:
            self._report(client, 1)
        return wait

    def give_back(self, client: str) -> None:
        """Put back a token, in every process."""
        super().give_back(client)
        self._report(client, -1)
