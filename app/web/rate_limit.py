"""How often a client may ask: a token bucket each, in a table that cannot grow without end."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_CLIENTS: Final = 10_000
"""Clients remembered at a time; about 2 MB."""
_IPV6_HOST: Final = 64
"""Bits of an IPv6 address that one network has; the rest its machines choose as they like."""


class Quotas:
    """A token bucket for each client, kept as one number: when it will be full again."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], most: int = MOST_CLIENTS
    ) -> None:
        """Begin with full buckets.

        Args:
            rate: Tokens a second.
            burst: Tokens of a full bucket.
            clock: Seconds, never backwards.
            most: Clients remembered; who is forgotten, the one seen least recently, begins anew.
        """
        self._interval = 1 / rate
        self._capacity = burst / rate
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Count the clients that are remembered."""
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        now = self._clock()
        full_at = max(now, self._full_at.pop(client, now)) + self._interval
        wait = full_at - now - self._capacity
        refused = wait > 1e-9 * self._capacity  # what a sum of fractions is off by is not a wait
        self._remember(client, full_at - self._interval if refused else full_at)
        return wait if refused else 0.0

    def give_back(self, client: str) -> None:
        """Put back a token of a request that the server could not answer."""
        self.charge(client, -1)

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
    """Return what one client cannot change: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:  # noqa: PLR2004 (IPv4)
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), _IPV6_HOST), strict=False))
