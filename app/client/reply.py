"""What an HTTP answer means: a record, or an error with the server's own sentence."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from app.client.answer import Answer, Malformed, Model, read_answer, read_model
from app.client.errors import ProblemError, StrangerError
from app.outgoing.retry_after import retry_after

T = TypeVar("T")

OK: Final = 200
UNAUTHORIZED: Final = 401
TOO_LARGE: Final = 413
_FORBIDDEN: Final = 403
_PROXY_WANTS_PASSWORD: Final = 407
_SERVER_ERRORS: Final = 500
_UNAVAILABLE: Final = frozenset({502, 503})
_OF_PROXIES: Final = frozenset({UNAUTHORIZED, 408, TOO_LARGE, 429})
"""Statuses below 500 that mean the same where a proxy answers them."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST_SENTENCE: Final = 500
_TIMING: Final = re.compile(r"([\w-]+);dur=([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, with its whole body.

    Attributes:
        where: The server, for sentences.
        status: Of HTTP.
        reason: What the server calls its status.
        headers: By name, in any case.
        content: The body.
        with_key: Whether the request had an API key.
    """

    where: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    with_key: bool = False

    @property
    def title(self) -> str:
        """Return the status and its reason."""
        return f"{self.status} {self.reason}".strip()

    def body(self) -> dict[str, Any] | None:
        """Return the JSON object; None if it is none."""
        try:
            body = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None


def to_answer(reply: Reply) -> Answer:
    """Return the answer of POST /predict.

    Raises:
        ProblemError: If the server answered an error.
        StrangerError: If this is no answer of a vgg-serve.
    """
    size = reply.headers.get("X-Batch-Size", "")
    timing = _TIMING.findall(reply.headers.get("Server-Timing", ""))
    return _understood(
        reply,
        lambda body: read_answer(
            body,
            reply.headers.get("X-Request-ID"),
            {name: float(ms) / 1000 for name, ms in timing},
            int(size) if size.isdecimal() else None,
        ),
    )


def to_models(reply: Reply) -> tuple[Model, ...]:
    """Return the answer of GET /models; it raises as `to_answer` does."""
    return _understood(reply, lambda body: tuple(map(read_model, body["models"])))


def to_model(reply: Reply) -> Model:
    """Return the answer of GET /models/NAME; it raises as `to_answer` does."""
    return _understood(reply, read_model)


def to_ready(reply: Reply) -> bool:
    """Return the answer of GET /readyz: whether the server is ready; else as `to_answer`."""
    if reply.status in _UNAVAILABLE:
        return False
    if successful(reply).get("status") != "ready":
        raise StrangerError(_strange(reply), status=reply.status)
    return True


def to_version(reply: Reply) -> str | None:
    """Return the version in the answer of GET /openapi.json, if it says one; it raises as `to_answer` does."""
    about = successful(reply).get("info")
    version = about.get("version") if isinstance(about, dict) else None
    return version if isinstance(version, str) else None


def successful(reply: Reply) -> dict[str, Any]:
    """Return the body of a success; raise what any other answer means."""
    body = reply.body()
    if reply.status == OK and body is not None:
        return body
    body = body or {}
    slug = _text(body, "type").rpartition("/")[2]
    foreign = reply.status < _SERVER_ERRORS and reply.status not in _OF_PROXIES
    if (not slug and foreign) or _wants_password(reply):
        raise StrangerError(_strange(reply), status=reply.status)
    limits = body.get("limit")
    raise ProblemError(
        _text(body, "detail") or _sentence(reply),
        title=_text(body, "title") or reply.title,
        type=slug,
        status=reply.status,
        request_id=_text(body, "request_id") or reply.headers.get("X-Request-ID"),
        retry_after=retry_after(reply.headers),
        limit={k: v for k, v in limits.items() if isinstance(v, int | float)}
        if isinstance(limits, dict)
        else None,
    )


def _understood(reply: Reply, read: Callable[[dict[str, Any]], T]) -> T:
    """Read the body of a success; what is not understood is from another server."""
    body = successful(reply)
    try:
        return read(body)
    except Malformed as exc:
        raise StrangerError(_strange(reply), status=reply.status) from exc


def _text(body: Mapping[str, Any], field: str) -> str:
    text = body.get(field)
    return text[:_LONGEST_SENTENCE] if isinstance(text, str) else ""


def _sentence(reply: Reply) -> str:
    if reply.status != UNAUTHORIZED:
        return f"The server answered {reply.title}."
    if reply.with_key:
        return f"{reply.where} does not know this API key."
    return f"{reply.where} wants an API key. Give it as `key`, or in the variable VGG_API_KEY."


def _wants_password(reply: Reply) -> bool:
    """Return whether a proxy before the server asks for a name and a password."""
    scheme = reply.headers.get("WWW-Authenticate", "").lower()
    return reply.status == UNAUTHORIZED and scheme.startswith("basic")


def _strange(reply: Reply) -> str:
    target = reply.headers.get("Location")
    if reply.status in _REDIRECTS and target:
        return f"{reply.where} redirects to {target[:200]}. Give that URL, without /predict."
    if reply.status == _PROXY_WANTS_PASSWORD:
        return (
            f"The proxy on the way to {reply.where} wants a name and a password. Give them in the"
            " variable HTTP_PROXY: http://NAME:PASSWORD@PROXY."
        )
    if _wants_password(reply):
        return (
            f"{reply.where} wants a name and a password. Give them in the URL:"
            " https://NAME:PASSWORD@HOST."
        )
    kind = reply.headers.get("Content-Type", "no type").partition(";")[0][:80]
    if reply.status == _FORBIDDEN:
        return (
            f"{reply.where} answered {reply.title}, which no vgg-serve does: something in front"
            " of it refuses this client. Ask whoever runs it, or check the URL."
        )
    return (
        f"The server at {reply.where} is not a vgg-serve: it answered {reply.title} with {kind}."
        " Check the URL and its port."
    )
