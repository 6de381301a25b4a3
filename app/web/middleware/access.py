"""Who may ask, and how often: decided on the headers, before a byte of a body is read."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import RateLimitedError, UnauthorizedError
from app.web.keys import Keys
from app.web.middleware.envelope import PREDICT
from app.web.problems import answer_error
from app.web.rate_limit import Quotas, network_of

OPEN: Final = ("/", "/healthz", "/readyz", "/openapi.json", "/docs", "/models")
"""What needs no key: probes, the page and its files, the description, and what is served."""
OPEN_FOLDERS: Final = ("/static/", "/docs/", "/models/")
_SCHEME: Final = b"bearer "


def needs_key(path: str) -> bool:
    """Tell whether a path is for the holders of keys alone, where there are keys."""
    return path not in OPEN and not path.startswith(OPEN_FOLDERS)


class Access:
    """ASGI middleware: an API key for all but OPEN, a token bucket for POST /predict.

    It leaves in `scope["state"]`: `key`, the name of the holder of the key.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, quotas: Quotas | None) -> None:
        """Wrap an app.

        Args:
            app: What answers.
            keys: Those that are let in; None lets in everyone.
            quotas: A bucket for each key or, without keys, each address; None for no limit.
        """
        self._app = app
        self._keys = keys
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except (UnauthorizedError, RateLimitedError) as exc:
                await answer_error(scope, exc)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path = scope["path"]
        if not needs_key(path):
            return
        client = _address(scope)
        if self._keys is not None:
            holder = self._keys.holder(_presented(scope))
            if holder is None:
                raise UnauthorizedError(
                    "Send the API key that the operator of this server gave you, in the header"
                    " Authorization: Bearer KEY"
                )
            scope["state"]["key"] = holder
            client = f"key {holder}"
        if self._quotas is not None and path == PREDICT and scope["method"] == "POST":
            wait = self._quotas.take(client)
            if wait:
                raise RateLimitedError(
                    f"You have sent too many requests; the next one is answered in {wait:.1f} s.",
                    retry_after=wait,
                )


def _presented(scope: Scope) -> bytes:
    """Return the key that came with a request; empty for none, or for two."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1 or values[0][: len(_SCHEME)].lower() != _SCHEME:
        return b""
    return bytes(values[0][len(_SCHEME) :].strip())


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0]) if client else ""
