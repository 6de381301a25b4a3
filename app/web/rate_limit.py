"""Rate limits: one token bucket per client, in a table of limited size."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

MOST_CLIENTS: Final = 10_000
"""Clients in the table; about 2 MB."""
_IPV6_HOST: Final = 64
"""Bits of an IPv6 address that name a network; its machines choose the other bits themselves."""


class Quotas:
    """A token bucket for each client, stored as one number: the time when it will be full.

    Attributes:
        report: Called with a client and the tokens that it took here; negative if it gave them back.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], most: int = MOST_CLIENTS
    ) -> None:
        """Start with full buckets of `burst` tokens, which gain `rate` tokens per second.

        Beyond `most` clients, the least recent one starts with a full bucket again.
        """
        self._interval = 1 / rate
        self._capacity = burst / rate
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.report: Callable[[str, int], None] = lambda _client, _tokens: None

    def take(self, client: str) -> float:
        """Take a token and return 0, or return the seconds until the client has one."""
        now = self._clock()
        full_at = max(now, self._full_at.pop(client, now)) + self._interval
        wait = full_at - now - self._capacity
        refused = wait > 1e-9 * self._capacity  # a rounding error is not a wait
        self._remember(client, full_at - self._interval if refused else full_at)
        if refused:
            return wait
        self.report(client, 1)
        return 0.0

    def take_more(self, client: str, tokens: int) -> None:
        """Take tokens for the other photos of a request that took its first one.

        The bucket may owe them then: a request of several photos is never too large for a bucket, and
        its client waits for its next token until all are paid.
        """
        self.charge(client, tokens)
        self.report(client, tokens)

    def give_back(self, client: str, tokens: int = 1) -> None:
        """Put back the tokens of a request that the server could not answer."""
        self.take_more(client, -tokens)

    def charge(self, client: str, tokens: int = 1) -> None:
        """Count tokens taken in another process (negative: given back), even beyond an empty bucket."""
        now = self._clock()
        full_at = max(now, self._full_at.pop(client, now))
        self._remember(client, full_at + tokens * self._interval)

    def _remember(self, client: str, full_at: float) -> None:
        self._full_at[client] = full_at
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)


def network_of(address: str) -> str:
    """Return the part that a client cannot change: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:  # noqa: PLR2004 (IPv4)
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), _IPV6_HOST), strict=False))


def client_of(scope: Scope) -> str:
    """Return the client whose rate is limited: an API key or, without keys, an address."""
    if "key" in scope["state"]:
        return f"key {scope['state']['key']}"
    return network_of(scope["client"][0]) if scope.get("client") else ""
