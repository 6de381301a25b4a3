"""Everything that can refuse an upload: by its head, and while its body arrives."""

import asyncio
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BadRequestError,
    BodyTooLargeError,
    OverloadedError,
    RateLimitedError,
    RequestError,
    ServiceError,
    SlowUploadError,
    UploadsFullError,
)
from app.serving.hosted_models import Models
from app.serving.metrics import Metrics
from app.web.endpoints import model_in
from app.web.parameters import LISTS, PARAMETERS_OF, unknown_parameter
from app.web.problems import UNAVAILABLE, answer_error
from app.web.rate_limit import Quotas, client_of

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"
_MILLISECONDS: Final = re.compile(r"0{0,8}[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What the uploads of one process may take.

    Attributes:
        body_bytes: Of one body.
        all_bytes: Of all bodies in memory.
        silence: Seconds for which a body may stand still.
        min_rate: Bytes per second that a body must arrive with.
        answer_seconds: From the end of a body to its answer; a client may ask for less.
    """

    body_bytes: int
    all_bytes: int
    silence: float
    min_rate: float
    answer_seconds: float


class Admission:
    """ASGI middleware that admits or refuses uploads; other requests pass.

    `before` puts it before an app, `EarlyRefusals` asks it without one until `overloaded_until`: a
    second after an upload was refused for its estimated wait.

    The checks run in this order: the names of the parameters (422), the model (404, 503), the
    headers (400), the size (413, 503), the estimated wait (503), the rate limit (429). The API key
    has been checked before (401).

    The rate limit comes last, so that a request refused by another check costs no token. The other
    checks only compare a few numbers: a flood of requests costs the server no more than if the
    rate limit came first. The token is taken before the body is read, which limits the uploads
    that a client has in progress. A later 503 returns the token.

    A body may stand still for `silence` seconds, and must arrive at `min_rate` bytes per second or
    faster: it has up to `silence` seconds of credit, loses one each second, and gains
    `1 / min_rate` with each byte. So none takes longer than `silence + body_bytes / min_rate`, and
    a fast beginning buys no slow end. If the memory for uploads is full, those that have been
    arriving for longer than `silence` give way, the oldest first: slow clients hold no room that
    others need.

    It adds to `scope["state"]`: `model`, the name of the model; `stands_in_for`, that of the model
    for which it stands in, or None; `loaded`, the model; `hold`, which counts what a body takes
    beyond its bytes; and once it is there, in seconds on the clock of `time.monotonic`, `arrived`,
    the time, and `deadline`, when its answer is due.
    """

    def __init__(
        self, models: Models, metrics: Metrics, quotas: Quotas | None, limits: UploadLimits
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._quotas = quotas
        self._limits = limits
        self._held = 0
        self._arriving: dict[_Upload, None] = {}  # the oldest first
        self.overloaded_until = 0.0

    def before(self, app: ASGIApp) -> ASGIApp:
        """Return an app that refuses a request, or passes it on to `app` and counts its body."""
        return partial(self._pass, app)

    async def _pass(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["state"]["photo"]:
            await app(scope, receive, send)
            return
        try:
            patience = self.check(scope)
            self._take_token(scope)
        except (RequestError, ServiceError) as exc:
            await answer_error(scope, exc)(scope, receive, send)
            return
        upload = _Upload(self._limits)
        self._arriving[upload] = None
        scope["state"]["hold"] = lambda size: self._hold_for(upload, size)

        async def receive_counted() -> Message:
            if upload.complete:
                return await receive()
            message = await self._receive(upload, receive)
            if not message.get("more_body", message["type"] != "http.request"):
                self._arriving.pop(upload, None)
                upload.finish()
                upload.complete = True
                state = scope["state"]
                state["arrived"] = time.monotonic()
                state["deadline"] = state["arrived"] + patience
            return message

        try:
            await app(scope, receive_counted, send)
        finally:
            self._arriving.pop(upload, None)
            upload.finish()
            self._hold(-upload.held)
            if self._quotas is not None and scope["state"].get("status") == UNAVAILABLE:
                self._quotas.give_back(client_of(scope), scope["state"].get("images", 1))

    async def _receive(self, upload: "_Upload", receive: Receive) -> Message:
        """Wait for more of a body, and count it: bytes received, as promises take no memory."""
        message = await upload.wait_for(receive)
        size = len(message.get("body", b""))
        if upload.held + size > self._limits.body_bytes:
            raise self._too_large(upload.held + size)
        self._hold_for(upload, size)
        upload.credit(size)
        return message

    def check(self, scope: Scope) -> float:
        """Return the seconds from the end of the body to the answer, or raise why it is refused."""
        query = QueryParams(scope["query_string"] or {})  # parsing nothing takes a while
        named, known = None, PARAMETERS_OF.get(scope["path"])
        if known is None or "{" in scope["path"]:
            path, named = model_in(scope["path"])
            known = PARAMETERS_OF.get(path, ())
        for one in query:
            if one not in known:
                raise unknown_parameter(one, known)
            if one not in LISTS and len(query.getlist(one)) > 1:
                raise BadRequestError(f"{one}: The query has it more than once; give it once.")
        name = named or query.get("model")
        model = self._models.choose(name or None)
        state = scope["state"]
        headers = Headers(scope=scope)
        state["model"] = model.manifest.name
        stands_in = not name and model.manifest.name != self._models.default
        state["stands_in_for"] = self._models.default if stands_in else None
        state["loaded"] = loaded = model.ready()
        patience = self._timeout(headers)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequestError("The header Content-Length is not a number.")
        if int(length) > self._limits.body_bytes:
            raise self._too_large(int(length))
        if self._held + int(length) > self._limits.all_bytes and not self._oldest_slow():
            raise _full()
        try:
            loaded.queue.admit(patience)
        except OverloadedError:
            self.overloaded_until = time.monotonic() + 1
            raise
        return patience

    def _timeout(self, headers: Headers) -> float:
        """Return the seconds that an answer may take: its client can only shorten them."""
        asked = headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self._limits.answer_seconds
        if not _MILLISECONDS.fullmatch(asked.strip(" \t")):
            raise BadRequestError(
                f"{TIMEOUT_HEADER} is not a whole number of milliseconds above 0."
            )
        return min(self._limits.answer_seconds, int(asked) / 1000)

    def _take_token(self, scope: Scope) -> None:
        wait = self._quotas.take(client_of(scope)) if self._quotas is not None else 0.0
        if wait:
            raise RateLimitedError(
                f"Too many requests from this client. Retry in {wait:.1f} s.", retry_after=wait
            )

    def _too_large(self, size: int) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"The body has {size / 1e6:.3g} MB or more;"
            f" the limit is {self._limits.body_bytes / 1e6:.3g} MB.",
            limit={"bytes": self._limits.body_bytes},
        )

    def _oldest_slow(self) -> "_Upload | None":
        """Return the upload that has been arriving for the longest time, if it is a slow one."""
        oldest = next(iter(self._arriving), None)
        now = asyncio.get_running_loop().time()
        return oldest if oldest and now - oldest.began > self._limits.silence else None

    def _make_room(self, upload: "_Upload") -> None:
        """Have the oldest of the slow uploads give way to this one, or refuse this one."""
        oldest = self._oldest_slow()
        if oldest is None or oldest is upload:
            raise _full()
        del self._arriving[oldest]
        self._hold(-oldest.held)
        oldest.give_way()

    def _hold_for(self, upload: "_Upload", size: int) -> None:
        while self._held + size > self._limits.all_bytes:
            self._make_room(upload)
        self._hold(size)
        upload.held += size

    def _hold(self, size: int) -> None:
        self._held += size
        self._metrics.uploading(size)


class _Upload:
    """One body while it arrives; times are on the event loop's clock.

    A single timer watches it, and finds out when it goes off whether more came meanwhile.

    Attributes:
        began: When it was admitted.
        held: Its bytes in memory.
        complete: Whether all of it is there.
    """

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiting = self._ended = self._gave_way = False
        self.held = 0
        self.complete = False
        self.began = self._loop.time()
        self._due = self.began + limits.silence
        self._timer = self._loop.call_at(self._due, self._look)

    async def wait_for(self, receive: Receive) -> Message:
        """Return what is received next.

        Raises:
            SlowUploadError: If it does not come in time.
            UploadsFullError: If the upload gives way to others meanwhile.
        """
        self._waiting = True
        try:
            if not self._ended:
                return await receive()
        except asyncio.CancelledError:
            if not self._was_cancelled_here():
                raise
        finally:
            self._waiting = False
        raise self._reason()

    def credit(self, size: int) -> None:
        """Give it time for bytes that came."""
        due = self._due + size / self._limits.min_rate
        self._due = min(due, self._loop.time() + self._limits.silence)

    def finish(self) -> None:
        """Stop watching it."""
        self._timer.cancel()

    def give_way(self) -> None:
        """Give up the wait for more of it; what came of it is not counted any more."""
        self.held = 0
        self._gave_way = True
        self._end()

    def _look(self) -> None:
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self.finish()
        if self._waiting and self._task is not None:
            self._task.cancel()

    def _was_cancelled_here(self) -> bool:
        """Return whether nobody else cancelled the task, such as a server that stops."""
        return self._ended and self._task is not None and not self._task.uncancel()

    def _reason(self) -> SlowUploadError | UploadsFullError:
        if self._gave_way:
            return UploadsFullError("The server has no room left for a slow upload. Retry later.")
        silence, rate = self._limits.silence, self._limits.min_rate
        return SlowUploadError(
            f"The upload was too slow: it may stand still for {silence:g} s and must come with"
            f" {rate:g} bytes per second or more. Send it again, or a smaller photo.",
            limit={"seconds": silence, "bytes_per_second": rate},
        )


def count_images(request: Request, images: int) -> None:
    """Count the images of a request whose body has been read: each costs its client a token."""
    quotas: Quotas | None = request.app.state.quotas
    request.state.images = images
    if quotas is not None and images > 1:
        quotas.take_more(client_of(request.scope), images - 1)


def _full() -> UploadsFullError:
    return UploadsFullError("Too many uploads are in progress. Retry in a moment.")
