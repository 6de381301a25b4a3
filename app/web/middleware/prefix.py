"""The path at which a proxy shows the service: `/vgg`, whether or not the proxy strips it."""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.endpoints import Endpoint
from app.web.middleware.envelope import SAFE_HEADERS

HEADER: Final = "X-Forwarded-Prefix"
UNIX: Final = "unix"
"""Stands for the address of a client that comes through a Unix socket, which has none."""
_LONGEST: Final = 200
_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
"""Characters that mean the same in an address, a header and HTML; no `//host`, no `..`."""
_OWN: Final = frozenset(one.path.split("/")[1] for one in Endpoint) - {""}


def clean_prefix(text: str) -> str | None:
    """Return a prefix without its last slash, empty for the root; None if it cannot be one.

    It does not begin like a path of the service: nobody could say whether it was stripped.
    """
    prefix = text.removesuffix("/")
    if len(prefix) > _LONGEST or not _PREFIX.fullmatch(prefix):
        return None
    return None if prefix.split("/")[1:2] and prefix.split("/")[1] in _OWN else prefix


class Prefix:
    """ASGI middleware, the outermost: removes the prefix from the path of a request.

    It adds `prefix` to `scope["state"]`, for addresses in answers: VGG_ROOT_PATH or, from a trusted
    proxy, its X-Forwarded-Prefix. A prefix without its last slash is redirected to it, because
    the page's addresses are relative.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusted_proxies: Sequence[str]) -> None:
        """Take the settings of the same names."""
        self._app = app
        self._root_path = root_path
        self._trusts_unix = UNIX in trusted_proxies
        self._trusted = [ip_network(one) for one in trusted_proxies if one != UNIX]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the path that the service knows."""
        if scope["type"] == "http":
            prefix = self._prefix(scope)
            path: str = scope["path"]
            if prefix and path == prefix:
                # A path alone, not the Host header, which the client chooses.
                query = scope["query_string"].decode("latin-1")
                address = f"{prefix}/?{query}" if query else f"{prefix}/"
                headers = {name.decode(): value.decode() for name, value in SAFE_HEADERS}
                await RedirectResponse(address, 308, headers)(scope, receive, send)
                return
            state = scope.setdefault("state", {}) | {"prefix": prefix}
            scope = {**scope, "state": state}
            if prefix and path.startswith(f"{prefix}/"):
                raw: bytes = scope.get("raw_path") or path.encode()
                scope["path"] = path.removeprefix(prefix)
                scope["raw_path"] = raw.removeprefix(prefix.encode())
        await self._app(scope, receive, send)

    def _prefix(self, scope: Scope) -> str:
        values = Headers(scope=scope).getlist(HEADER)
        if not values or not self._trusts(scope.get("client")):
            return self._root_path
        # Of proxies in a row, each adds its own, the outermost first.
        parts = [clean_prefix(part.strip()) for value in values for part in value.split(",")]
        whole = "".join(part or "" for part in parts)
        return whole if None not in parts and clean_prefix(whole) == whole else self._root_path

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        if client and client[0] == UNIX:
            return self._trusts_unix
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self._trusted)
