"""Around every request: an id, a clock, safe headers, one line in the log, one count."""

import asyncio
import logging
import random
import re
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DrainingError
from app.serving.metrics import NO_MODEL, Metrics
from app.web.problems import answer_bug, answer_error

log = logging.getLogger(__name__)

CLIENT_LEFT: Final = 499
"""nginx's status for a client that closed the connection; never sent, only counted."""
PREDICT: Final = "/predict"
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
SAFE_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""Of every answer that does not say them itself."""


class Envelope:
    """ASGI middleware, the outermost.

    It leaves in `scope["state"]`: `request_id`; `began` (`time.monotonic`, seconds). It finds
    there, from those inside: `model`, the name of the model that was asked for and is served;
    `problem`, the slug of an error; `key`, the name of an API key; `fields`, what else belongs into the line of the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an app.

        Args:
            app: What answers.
            metrics: Told of every answer to POST /predict.
        """
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        state = scope.setdefault("state", {})
        state["began"] = began
        request_id = _request_id(scope)
        state["request_id"] = request_id.decode()
        status = CLIENT_LEFT

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                there = {name for name, _ in headers}
                headers.append((b"x-request-id", request_id))
                if scope["app"].state.draining.is_set():  # what comes next needs a new server
                    headers.append((b"connection", b"close"))
                headers += [item for item in SAFE_HEADERS if item[0] not in there]
                if scope["path"] == PREDICT and b"server-timing" not in there:
                    total = 1000 * (time.monotonic() - began)
                    headers.append((b"server-timing", f"total;dur={total:.2f}".encode()))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_enveloped)
        except asyncio.CancelledError:  # the time to drain is over
            if status != CLIENT_LEFT:
                raise
            error = DrainingError("The server stopped before it could answer.")
            await answer_error(scope, error)(scope, receive, send_enveloped)
        except Exception:
            if status != CLIENT_LEFT:  # half an answer is out: only the connection can say so
                raise
            log.exception("a bug", extra={"request_id": state["request_id"]})
            await answer_bug(scope, receive, send_enveloped)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope["state"]
        probe = scope["path"] in {"/healthz", "/readyz", "/metrics"}
        if scope["path"] == PREDICT and scope["method"] == "POST":
            self._metrics.answered(state.get("model", NO_MODEL), status, seconds)
            self._metrics.rejected(state.get("problem", ""))
        log.log(
            logging.DEBUG if probe else logging.INFO,
            "%s %s %d",
            _printable(scope["method"][:20]),
            _printable(scope["path"][:200]),
            status,
            extra={
                "request_id": state["request_id"],
                "status": status,
                "ms": round(1000 * seconds, 2),
                **{name: state[name] for name in ("problem", "key") if name in state},
                **state.get("fields", {}),
            },
        )


def _printable(text: str) -> str:
    """Escape what could pass for a line of the log or move a terminal's cursor."""
    return text.encode("unicode_escape").decode()


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return bytes(value)
    return b"%032x" % random.getrandbits(128)  # unique, not secret
