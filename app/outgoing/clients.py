"""The one place where HTTP clients are built, so that proxies and certificates are the same for all."""

import ssl
from collections.abc import Mapping
from typing import Any, TypeAlias

import httpx

from app.outgoing.certificates import trust
from app.outgoing.proxies import Proxy, is_loopback, proxy_for

Client: TypeAlias = httpx.AsyncClient
"""What this module opens."""


def server_client(url: httpx.URL, **options: Any) -> Client:  # noqa: ANN401 (as httpx.AsyncClient)
    """Open a client for one server of the user, with the options of httpx.AsyncClient.

    This machine is asked directly: the loopback address of a proxy is another machine.

    Raises:
        SetupError: If a variable of the environment is wrong; it is named.
    """
    proxy = None if is_loopback(url) else proxy_for(url)
    secure = "https" in {url.scheme, proxy.url.scheme if proxy else ""}
    way = _way(proxy, trust() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return httpx.AsyncClient(trust_env=False, **way, **options)


def download_client(headers: Mapping[str, str]) -> Client:
    """Open a client that follows redirects, each hop with the proxy for its host.

    Args:
        headers: Of every request; httpx keeps Authorization from other hosts.

    Raises:
        SetupError: Here or in a request, if a variable of the environment is wrong; it names it.
    """
    transport = _Routes(trust())
    return httpx.AsyncClient(
        headers=headers, follow_redirects=True, trust_env=False, transport=transport
    )


class _Routes(httpx.AsyncBaseTransport):
    """Sends each request on the way to its host."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._transports: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_for(request.url)
        if proxy not in self._transports:
            self._transports[proxy] = httpx.AsyncHTTPTransport(**_way(proxy, self._context))
        return await self._transports[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def _way(proxy: Proxy | None, context: ssl.SSLContext) -> dict[str, Any]:
    """Return the arguments of httpx for a proxy and certificates."""
    if proxy is None:
        return {"verify": context}
    of_proxy = context if proxy.url.scheme == "https" else None  # httpx refuses another one
    return {"verify": context, "proxy": httpx.Proxy(proxy.url, ssl_context=of_proxy)}
