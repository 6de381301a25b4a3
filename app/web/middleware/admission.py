"""Everything that can refuse an upload before its body is read."""

import re
import time
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BadRequestError,
    BodyTooLargeError,
    RateLimitedError,
    RequestError,
    ServiceError,
    UploadsFullError,
)
from app.serving.hosted_models import Models
from app.serving.metrics import Metrics
from app.web.problems import UNAVAILABLE, answer_error
from app.web.rate_limit import Quotas, network_of

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_MILLISECONDS: Final = re.compile(r"0{0,8}[1-9][0-9]{0,8}")


class Admission:
    """ASGI middleware that admits or refuses uploads; other requests pass.

    The checks run in this order: the model (404, 503), the headers (400), the size (413, 503), the
    estimated wait (503), the rate limit (429). The API key has been checked before (401).

    The rate limit comes last, so that a request refused by another check costs no token. The other
    checks only compare a few numbers: a flood of requests costs the server no more than if the
    rate limit came first. The token is taken before the body is read, which limits the uploads
    that a client has in progress. A later 503 returns the token.

    It adds to `scope["state"]`: `model`, the name of the model; `stands_in_for`, the
    name of the model for which it stands in, or None; `loaded`, the model itself;
    `deadline`, on the clock of `time.monotonic`, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        models: Models,
        metrics: Metrics,
        quotas: Quotas | None,  # a token bucket per API key or, without keys, per address
        *,
        max_body_bytes: int,
        max_upload_bytes: int,  # of all bodies in memory
        max_seconds: float,  # of a request that does not ask for a shorter time
    ) -> None:
        self._app = app
        self._models = models
        self._metrics = metrics
        self._quotas = quotas
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self._max_seconds = max_seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and count its body."""
        if scope["type"] != "http" or not scope["state"]["photo"]:
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            self._take_token(scope)
        except (RequestError, ServiceError) as exc:
            await answer_error(scope, exc)(scope, receive, send)
            return
        held = 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if held + size > self._max_body_bytes:
                raise self._too_large(held + size)
            self._ensure_room(size)  # for bytes received, not declared: promises take no memory
            self._hold(size)
            held += size
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._hold(-held)
            if self._quotas is not None and scope["state"].get("status") == UNAVAILABLE:
                self._quotas.give_back(_client(scope))

    def _check(self, scope: Scope) -> None:
        name = QueryParams(scope["query_string"]).get("model")
        model = self._models.choose(name or None)
        state = scope["state"]
        headers = Headers(scope=scope)
        state["model"] = model.manifest.name
        stands_in = not name and model.manifest.name != self._models.default
        state["stands_in_for"] = self._models.default if stands_in else None
        state["loaded"] = loaded = model.ready()
        state["deadline"] = deadline = state["began"] + self._timeout(headers)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequestError("The header Content-Length is not a number.")
        if int(length) > self._max_body_bytes:
            raise self._too_large(int(length))
        self._ensure_room(int(length))
        loaded.queue.admit(deadline - time.monotonic())

    def _timeout(self, headers: Headers) -> float:
        """Return the seconds that a request may take: its client can only shorten them."""
        asked = headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self._max_seconds
        if not _MILLISECONDS.fullmatch(asked.strip(" \t")):
            raise BadRequestError(
                f"{TIMEOUT_HEADER} is not a whole number of milliseconds above 0."
            )
        return min(self._max_seconds, int(asked) / 1000)

    def _take_token(self, scope: Scope) -> None:
        wait = self._quotas.take(_client(scope)) if self._quotas is not None else 0.0
        if wait:
            raise RateLimitedError(
                f"Too many requests from this client. Retry in {wait:.1f} s.", retry_after=wait
            )

    def _too_large(self, size: int) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"The body has {size / 1e6:.3g} MB or more;"
            f" the limit is {self._max_body_bytes / 1e6:.3g} MB.",
            limit={"bytes": self._max_body_bytes},
        )

    def _ensure_room(self, size: int) -> None:
        if self._held + size > self._max_upload_bytes:
            raise UploadsFullError("Too many uploads are in progress. Retry in a moment.")

    def _hold(self, size: int) -> None:
        self._held += size
        self._metrics.uploading(size)


def _client(scope: Scope) -> str:
    """Return the client whose rate is limited: an API key or, without keys, an address."""
    if "key" in scope["state"]:
        return f"key {scope['state']['key']}"
    return network_of(scope["client"][0]) if scope.get("client") else ""
