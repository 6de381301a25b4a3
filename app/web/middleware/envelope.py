"""What every request gets: an id, a start time, safe headers, a log line, a count.

A connection that is closed before a request was read gets most of it too.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.errors import DrainingError, RequestError, ServiceError
from app.serving.metrics import NO_MODEL, Metrics
from app.web.endpoints import MARKS, PHOTO, PROBE, PROTOCOL_OF
from app.web.problems import CLIENT_LEFT, answer_error

log = logging.getLogger(__name__)

_XHTML: Final = "application/xhtml+xml"
_ZERO: Final = re.compile(r"q\s*=\s*0(\.0*)?")
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SAFE_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""Added to every answer that does not set them itself."""


class Envelope:
    """ASGI middleware, the outermost.

    It adds to `scope["state"]`: `request_id`; `began`, on the clock of `time.monotonic`, in
    seconds; `photo`, whether the request uploads a photo, so that all limits apply to it; `html`,
    whether its answer is to be a page; `status`, as soon as the answer starts. It reads there what
    inner layers added: `model`, the name of the model; `problem`, the slug of an error; `key`, the
    name of an API key; `protocol`, if its path does not say it; `fields`, more fields of the log line.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin(scope)
        state = scope["state"]

        async def send_enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = enveloped(scope, message.get("headers", ()))
                if scope["app"].state.draining.is_set():  # the next request needs another server
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_enveloped)
        except asyncio.CancelledError:  # the time to drain is over
            if "status" in state:
                raise
            error = DrainingError("The server stopped before it could answer.")
            await answer_error(scope, error)(scope, receive, send_enveloped)
        except Exception:
            if "status" in state:  # half of an answer was sent: only a reset can report the error
                raise
            log.exception(
                "unhandled exception: %s",
                _describe(scope),
                extra={"request_id": state["request_id"]},
            )
            failed = ServiceError("The server's log has the details under this request's id.")
            await answer_error(scope, failed)(scope, receive, send_enveloped)
        finally:
            record(scope, self._metrics)


def begin(scope: Scope) -> None:
    """Add to `scope["state"]` what is known of a request by its head."""
    state = scope.setdefault("state", {})
    state["began"] = time.monotonic()
    scope["path"] = scope["path"].removesuffix("/") or "/"  # /predict/ is /predict
    marks, method = MARKS[scope["path"]], scope["method"]
    state["photo"] = PHOTO in marks and (method == "POST" or method in marks)
    headers = Headers(scope=scope)
    state["html"] = state["photo"] and _navigates(headers)
    given = headers.get("x-request-id", "")
    state["request_id"] = given if _SANE_ID.fullmatch(given) else _new_id()


def enveloped(scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, and those that every answer has."""
    state = scope["state"]
    there = {name for name, _ in headers}
    more = [(b"x-request-id", state["request_id"].encode())]
    more += [item for item in SAFE_HEADERS if item[0] not in there]
    if b"server-timing" not in there and PHOTO in MARKS[scope["path"]]:
        total = 1000 * (time.monotonic() - state["began"])
        more.append((b"server-timing", f"total;dur={total:.2f}".encode()))
    return [*headers, *more]


def record(scope: Scope, metrics: Metrics) -> None:
    """Count a request that has ended, and log it."""
    state = scope["state"]
    status = state.get("status", CLIENT_LEFT)
    now = time.monotonic()
    if state["photo"]:
        waited = now - state.get("arrived", state["began"])
        spoken = state.get("protocol") or PROTOCOL_OF.get(MARKS[scope["path"]], "predict")
        metrics.answered(state.get("model", NO_MODEL), status, waited, spoken)
        metrics.rejected(state.get("problem", ""))
    log.log(
        logging.DEBUG if PROBE in MARKS[scope["path"]] else logging.INFO,
        "%s %d",
        _describe(scope),
        status,
        extra={
            "request_id": state["request_id"],
            "status": status,
            "ms": round(1000 * (now - state["began"]), 2),
            **{name: state[name] for name in ("problem", "key") if name in state},
            **state.get("fields", {}),
        },
    )


def write_refusal(
    error: RequestError | ServiceError, default_headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Return the bytes of a problem, the last answer of its connection, and log it.

    Args:
        error: The reason.
        default_headers: uvicorn's headers for every answer.
    """
    state = {"request_id": _new_id()}
    response = answer_error({"state": state}, error)
    log.info(
        "connection closed before a request: %d", error.status, extra=state
    )  # with the problem
    headers = [
        *default_headers,
        *response.raw_headers,
        *SAFE_HEADERS,
        (b"x-request-id", state["request_id"].encode()),
        (b"connection", b"close"),
    ]
    return write_answer(error.status, headers, bytes(response.body))


def write_answer(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the bytes of an answer."""
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


def _navigates(headers: Headers) -> bool:
    """Return whether a browser is going to show the answer, as when it sends the page's form.

    Browsers say so in Sec-Fetch-Mode, and older ones by asking for XHTML. Programs do neither,
    though Java's asks for text/html first.
    """
    mode = headers.get("sec-fetch-mode", "").lower()
    accepted = ",".join(headers.getlist("accept")).lower()
    if mode != "navigate" and (mode or _XHTML not in accepted):
        return False
    wanted: dict[str, bool] = {}
    for item in accepted.split(","):
        name, *parameters = map(str.strip, item.split(";"))
        wanted[name] = not any(map(_ZERO.fullmatch, parameters))
    return wanted.get("text/html", True) and (bool(mode) or wanted.get(_XHTML, False))


def _describe(scope: Scope) -> str:
    """Return method and path, without characters that start a log line or move a cursor."""
    text = f"{scope['method'][:20]} {scope['path'][:200]}"
    return text.encode("unicode_escape").decode()


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"  # unique, not secret
