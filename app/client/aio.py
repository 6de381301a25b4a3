"""The client for programs with an event loop: one photo, or many of them in order."""

import asyncio
import os
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import ExitStack
from math import inf
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from app.client.address import below, open_client, server_url, shown
from app.client.answer import Answer, Model
from app.client.errors import (
    ClientError,
    NoAnswerError,
    ProblemError,
    TimedOutError,
    UnreachableError,
)
from app.client.exchange import exchange, in_thread, post
from app.client.flow import Flow
from app.client.order import in_order
from app.client.photo import Image, Photo, open_photo
from app.client.question import (
    CONCURRENCY,
    PATIENCE,
    Many,
    Question,
    check_seconds,
    check_several,
    query,
)
from app.client.reply import Reply, to_answer, to_model, to_models, to_ready, to_version
from app.client.retries import RATE_LIMITED, Patience, counts, is_refusal, pause

T = TypeVar("T")


class AsyncClient:
    """Classifies photos by a server; `async with AsyncClient(url) as client`.

    It belongs to the event loop in which it was used first.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        timeout: float | None = 30.0,
        retries: int = 2,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: `http://HOST:PORT`, with the prefix behind which an ingress has the server; None
                for the variable VGG_URL.
            key: API key; None for the variable VGG_API_KEY, empty for none at all.
            timeout: Seconds for one call with all its tries; None for no limit.
            retries: Tries after the first, where the server is busy (429, 502, 503) or the connection
                fails; the server's Retry-After is waited for.
            transport: Sends requests in place of the network, for tests.

        Raises:
            AddressError: If `url` is no URL; a ValueError.
            KeysError: If the key cannot be one.
            SetupError: If a variable of the environment about proxies or certificates is wrong.
        """
        check_seconds("timeout", timeout)
        if retries < 0:
            raise ValueError(f"retries is {retries}; it is 0 or more.")
        self._url = server_url(url)
        key = os.environ.get("VGG_API_KEY") if key is None else key
        self._client = open_client(self._url, key, transport)
        self._timeout, self._retries = timeout, retries
        self._met = False

    def __repr__(self) -> str:
        """Name the server, but not the key."""
        return f"{type(self).__name__}({shown(self._url)!r})"

    @property
    def url(self) -> str:
        """Return the URL of the server, without a password."""
        return shown(self._url)

    async def __aenter__(self) -> Self:
        """Return the client."""
        self._check_open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._client.aclose()

    async def classify(self, image: Image, **question: Unpack[Question]) -> Answer:
        """Classify one photo.

        Args:
            image: A path, a file's bytes, an open file, an image of Pillow, or an array: uint8
                [height, width, 3], RGB.
            **question: `model`, `top_k`, `explain`, `parameters`, `timeout`; see `Question`.

        Raises:
            ClientError: If there is no answer; app/client/errors.py has the kinds.
            OSError: If a file cannot be read.
            TypeError, ValueError: If it is no image, or an argument is wrong.
        """
        params = query(question)

        async def work() -> Answer:
            with ExitStack() as stack:
                photo = await in_thread(image, _open, stack, image)
                return await self._persist(lambda: self.send(photo, params), Flow(1), patience)

        seconds, patience = self._limits(question.get("timeout"))
        return await self._in_time(work(), seconds)

    @overload
    def classify_many(
        self, images: Iterable[Image] | AsyncIterable[Image], *, return_exceptions: Literal[False] = ..., **asked: Unpack[Many],
    ) -> AsyncGenerator[Answer, None]: ...  # fmt: skip

    @overload
    def classify_many(
        self, images: Iterable[Image] | AsyncIterable[Image], *, return_exceptions: bool, **asked: Unpack[Many],
    ) -> AsyncGenerator[Answer | Exception, None]: ...  # fmt: skip

    def classify_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        return_exceptions: bool = False,
        **asked: Unpack[Many],
    ) -> AsyncGenerator[Answer, None] | AsyncGenerator[Answer | Exception, None]:
        """Classify photos, several at a time, and yield the answers in their order.

        At most `concurrency` images are taken from the iterable before the first of their answers
        is taken from here, so it may be endless. Fewer are sent while the server is busy; what
        the caller's iterable raises is raised here.

        Args:
            images: As of `classify`.
            return_exceptions: Whether to yield what `classify` would raise in place of that photo's
                answer, and to go on.
            **asked: `concurrency`, `patience`, and what `classify` takes; see `Many`.
        """
        check_several(images)
        work, ahead = self.worker(asked, catch=return_exceptions)
        return in_order(work, images, ahead)

    async def models(self) -> tuple[Model, ...]:
        """Return the models of the server, the default first; it raises as `classify` does."""
        return await self._get(to_models, "models")

    async def model(self, name: str) -> Model:
        """Return one model; `body` has all that GET /models/NAME says. It raises as `classify` does."""
        return await self._get(to_model, "models", name)

    async def version(self) -> str | None:
        """Return the version of the server; None if it does not say. It raises as `classify` does."""
        try:
            return await self._get(to_version, "openapi.json")
        except ProblemError:
            return None

    async def ready(self) -> bool:
        """Return whether the server can answer; False while it starts, stops, or is not there.

        Raises:
            StrangerError: If another server is there.
        """
        try:
            return await self._in_time(self._ask(to_ready, "readyz"), self._timeout)
        except (UnreachableError, NoAnswerError):
            return False

    async def send(self, photo: Photo, params: Mapping[str, str]) -> Answer:
        """Send a photo once; it raises as `classify` does, and OSError if it cannot be read."""
        self._check_open()
        reply = await post(self._client, below(self._url, "predict"), params, photo, self._url)
        answer = to_answer(reply)
        self._met = True
        return answer

    def worker(
        self, asked: Many, *, catch: bool
    ) -> tuple[Callable[[Image], Coroutine[Any, Any, Answer]], int]:
        """Return what classifies one photo of many, and how many of them at a time.

        With `catch` it returns the exceptions of a photo as if they were answers.
        """
        self._check_open()
        params, seconds = query(asked), self._limits(asked.get("timeout"))[0]
        ahead, patience = asked.get("concurrency", CONCURRENCY), asked.get("patience", PATIENCE)
        if ahead < 1:
            raise ValueError(f"concurrency is {ahead}; it is 1 or more.")
        check_seconds("patience", patience)
        flow, patient = Flow(ahead), Patience(self._retries, patience, waits=True)

        async def work(image: Image) -> Answer:
            with ExitStack() as stack:
                photo = await in_thread(image, _open, stack, image)
                return await self._persist(
                    lambda: self._in_time(self.send(photo, params), seconds), flow, patient
                )

        async def careful(image: Image) -> Answer:
            try:
                return await work(image)
            except Exception as exc:  # noqa: BLE001 (it is what the caller asked for)
                return exc  # type: ignore[return-value] # as the overload of classify_many says

        return (careful if catch else work), ahead

    def _limits(self, timeout: float | None) -> tuple[float | None, Patience]:
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        return seconds, Patience(self._retries, inf if seconds is None else seconds)

    async def _get(self, read: Callable[[Reply], T], *path: str) -> T:
        seconds, patience = self._limits(None)
        work = self._persist(lambda: self._ask(read, *path), Flow(1), patience)
        return await self._in_time(work, seconds)

    async def _ask(self, read: Callable[[Reply], T], *path: str) -> T:
        self._check_open()
        url = below(self._url, *path)
        found = read(await exchange(self._client, "GET", url, self._url))
        self._met = True
        return found

    async def _in_time(self, work: Awaitable[T], seconds: float | None) -> T:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise TimedOutError(f"{self.url} gave no answer within {seconds:g} s.") from exc

    async def _persist(
        self, attempt: Callable[[], Awaitable[T]], flow: Flow, patience: Patience
    ) -> T:
        """Make attempts, each in its place in the flow, until one succeeds or patience is over."""
        loop = asyncio.get_running_loop()
        start, tries, counted = loop.time(), 0, 0
        while True:
            began = await flow.enter()
            try:
                result = await attempt()
            except ClientError as exc:
                wait = pause(exc, tries, random.random())  # noqa: S311 (spreads clients, no secret)
                tries += 1
                counted += not patience.waits or counts(exc, met=self._met)
                if is_refusal(exc):
                    flow.refused(began, wait, client=exc.status == RATE_LIMITED)
                if not patience.lasts(exc, counted, loop.time() + wait - start):
                    raise
            else:
                flow.answered()
                return result
            finally:
                flow.leave()
            await asyncio.sleep(wait)

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise RuntimeError("The client is closed.")


def _open(stack: ExitStack, image: Image) -> Photo:
    photo = open_photo(image)
    stack.callback(photo.close)
    return photo
