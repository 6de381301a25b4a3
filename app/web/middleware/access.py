"""API keys, checked on the headers alone."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import UnauthorizedError
from app.web.keys import Keys
from app.web.paths import KEY, MARKS
from app.web.problems import answer_error

_SCHEME: Final = b"bearer "


class Access:
    """ASGI middleware that answers 401 to requests without a valid API key.

    It adds `key`, the name of the key's holder, to `scope["state"]`. Paths that need no key pass
    unchecked.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] == "http" and KEY in MARKS[scope["path"]]:
            holder = self._keys.holder(_presented(scope))
            if holder is None:
                error = UnauthorizedError(
                    'Missing or invalid API key. Send it as "Authorization: Bearer KEY".'
                )
                await answer_error(scope, error)(scope, receive, send)
                return
            scope["state"]["key"] = holder
        await self._app(scope, receive, send)


def _presented(scope: Scope) -> bytes:
    """Return the key of a request; empty if it has none, or more than one."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1 or values[0][: len(_SCHEME)].lower() != _SCHEME:
        return b""
    return bytes(values[0][len(_SCHEME) :].strip())
