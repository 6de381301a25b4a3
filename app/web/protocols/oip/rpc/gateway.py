"""One call becomes one request to the app: the same admission, keys, rates, log and metrics."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import Message

from app.errors import ServiceError, UploadsFullError
from app.serving.hosted_models import Models
from app.web.middleware.admission import TIMEOUT_HEADER
from app.web.protocols.oip.rpc.translate import read_message

Read = Callable[[], Awaitable[bytes | None]]
"""Returns the message of a call, or None if its client left."""

_PASSED_ON: Final = frozenset(
    {"authorization", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "user-agent"}
)
"""Metadata that the app reads as headers."""
_LONGEST_MS: Final = 999_999_999
_FOR_A_TURN: Final = 1.0
"""Seconds that a call may wait until its message can be read."""
_MOST_SHORT: Final = 4
"""Messages without photos that are read at a time: they have places of their own, so that no upload
holds up a question, such as whether the server is healthy."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        peer: As gRPC names it: `ipv4:127.0.0.1:5000`, `ipv6:[::1]:5000`, `unix:`.
        metadata: Names in lower case, and values.
        seconds: Until its deadline; None for none.
    """

    peer: str
    metadata: Iterable[tuple[str, str | bytes]]
    seconds: float | None


@dataclass(slots=True)
class Answer:
    """What the app answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:  # noqa: ANN401 (JSON)
        """Return its body, if it is JSON."""
        return json.loads(self.body)


class Gateway:
    """Asks an app."""

    def __init__(self, app: FastAPI, most_reading: int) -> None:
        """Remember the app; so many messages are read at a time, as each may have the size limit."""
        self._app = app
        self._reading = asyncio.Semaphore(most_reading)
        self._asking = asyncio.Semaphore(_MOST_SHORT)
        self._running: set[asyncio.Task[None]] = set()

    @property
    def app(self) -> FastAPI:
        """Return the app."""
        return self._app

    async def get(self, path: str, caller: Caller) -> Answer:
        """Ask for something that needs no photo."""
        return await self._ask("GET", path, caller, b"")

    async def _ask(self, method: str, path: str, caller: Caller, body: bytes) -> Answer:
        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = Answer()
        await self._app(_scope(method, path, caller), receive, _collect(answer))
        return answer

    async def index(self, caller: Caller, *, ready: bool) -> Answer:
        """Ask for the models, or for those that are ready."""
        body = json.dumps({"ready": ready}).encode()
        return await self._ask("POST", "/v2/repository/index", caller, body)

    @property
    def may_read(self) -> bool:
        """Return whether a message without photos can be read at once."""
        return not self._asking.locked()

    async def read(self, read: Read, seconds: float) -> bytes | None:
        """Return a message without photos that is to arrive in so many seconds, or None.

        Raises:
            UploadsFullError: If too many of them are arriving.
        """
        try:
            async with asyncio.timeout(seconds):
                return await _in_turn(self._asking, read)
        except TimeoutError:
            return None

    async def infer(self, caller: Caller, read: Read) -> Answer:
        """Classify the images of a message, which is read once its call is admitted.

        Its model is not known before. A model that admits photos now stands for it until then.
        """
        left, asked = asyncio.Event(), False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await left.wait()
                return {"type": "http.disconnect"}
            asked = True
            data = await _in_turn(self._reading, read)
            if data is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": data, "more_body": False}

        scope = _scope("POST", f"/v2/models/{self._any_model()}/infer", caller)
        scope["state"] = {"protocol": "grpc", "translate": read_message}
        answer = Answer()
        task = asyncio.create_task(self._app(scope, receive, _collect(answer)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:  # its client left: the app drops the request, and counts it
            left.set()
            raise
        return answer

    def _any_model(self) -> str:
        models: Models = self._app.state.models
        for name, model in models.all().items():
            try:
                model.ready().queue.admit()
            except ServiceError:
                continue
            return name
        return models.default


async def _in_turn(turns: asyncio.Semaphore, read: Read) -> bytes | None:
    try:
        async with asyncio.timeout(_FOR_A_TURN):
            await turns.acquire()
    except TimeoutError as exc:
        raise UploadsFullError("Too many messages are arriving. Retry in a moment.") from exc
    try:
        return await read()
    finally:
        turns.release()


def _scope(method: str, path: str, caller: Caller) -> dict[str, Any]:
    headers = [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in caller.metadata
        if name in _PASSED_ON and isinstance(value, str)
    ]
    if caller.seconds is not None:
        milliseconds = min(_LONGEST_MS, max(1, math.ceil(1000 * caller.seconds)))
        headers.append((TIMEOUT_HEADER.lower().encode(), str(milliseconds).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "2",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": _address(caller.peer),
        "server": None,
        "state": {},
    }


def _collect(answer: Answer) -> Callable[[Message], Awaitable[None]]:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in message["headers"]
            }
        else:
            answer.body += message.get("body", b"")

    return send


def _address(peer: str) -> tuple[str, int] | None:
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in {"ipv4", "ipv6"} or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def problem_of(answer: Answer) -> Mapping[str, str]:
    """Return what a problem says beside its sentence, as metadata."""
    names = {"retry-after", "x-request-id"}
    return {name: value for name, value in answer.headers.items() if name in names}
