"""The client for programs without an event loop: an AsyncClient in a thread of its own."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from app.client.aio import AsyncClient
from app.client.answer import Answer, Model
from app.client.order import in_order_blocking
from app.client.photo import Image
from app.client.question import Many, Question, check_several

T = TypeVar("T")


class Client:
    """Classifies photos by a server; `with Client(url) as client`. Threads may share it.

    Requests run in an event loop in a thread, which begins with the first of them: a time limit holds
    wherever a request hangs, and Ctrl-C ends it at once. In a process that was forked, the client
    makes connections of its own.
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
        """Connect to nothing yet; arguments and errors are those of `AsyncClient`."""
        self._make = partial(AsyncClient, url, key, timeout, retries, transport=transport)
        self._client = self._make()
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._thread: _Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Name the server, but not the key."""
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """Return the URL of the server, without a password."""
        return self._client.url

    def __enter__(self) -> Self:
        """Return the client."""
        self._check_open()
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """End what is under way and close the connections; the client cannot be used any more."""
        with self._lock:
            self._closed = True
            if self._thread is not None and self._process == os.getpid():
                self._thread.stop()
            self._thread = None

    def classify(self, image: Image, **question: Unpack[Question]) -> Answer:
        """Classify one photo; arguments and errors are those of `AsyncClient.classify`."""
        return self._run(lambda client: client.classify(image, **question))

    @overload
    def classify_many(
        self, images: Iterable[Image], *, return_exceptions: Literal[False] = ...,
        **asked: Unpack[Many],
    ) -> Generator[Answer, None, None]: ...  # fmt: skip

    @overload
    def classify_many(
        self, images: Iterable[Image], *, return_exceptions: bool,
        **asked: Unpack[Many],
    ) -> Generator[Answer | Exception, None, None]: ...  # fmt: skip

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        return_exceptions: bool = False,
        **asked: Unpack[Many],
    ) -> Generator[Answer, None, None] | Generator[Answer | Exception, None, None]:
        """Classify photos, several at a time, and yield the answers in their order.

        Arguments and errors are those of `AsyncClient.classify_many`. The images are taken from the
        iterable in the thread that takes the answers.
        """
        check_several(images)
        self._check_open()
        work, ahead = self._client.worker(asked, catch=return_exceptions)

        def begin(image: Image) -> Future[Answer]:
            return self._submit(lambda _: work(image))

        return in_order_blocking(begin, _result, images, ahead)

    def models(self) -> tuple[Model, ...]:
        """Return the models of the server, the default first; it raises as `classify` does."""
        return self._run(AsyncClient.models)

    def model(self, name: str) -> Model:
        """Return one model; `body` has all that GET /models/NAME says. It raises as `classify` does."""
        return self._run(lambda client: client.model(name))

    def version(self) -> str | None:
        """Return the version of the server; None if it does not say. It raises as `classify` does."""
        return self._run(AsyncClient.version)

    def ready(self) -> bool:
        """Return whether the server can answer; as `AsyncClient.ready`."""
        return self._run(AsyncClient.ready)

    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        return _result(self._submit(call))

    def _submit(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin a call in the thread, which begins itself if there is none."""
        with self._lock:
            self._check_open()
            if self._process != os.getpid():  # a fork: the thread is in the other process
                self._process, self._thread, self._client = os.getpid(), None, self._make()
            if self._thread is None:
                self._thread = _Thread(self._client)
                weakref.finalize(self, self._thread.tell)
            return asyncio.run_coroutine_threadsafe(call(self._client), self._thread.loop)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("The client is closed.")


class _Thread:
    """An event loop in a thread, until `stop`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._run = threading.Thread(
            target=self._serve, args=(begun,), name="vgg-client", daemon=True
        )
        self._run.start()
        self.loop, self._stopped = begun.result()

    def _serve(self, begun: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        """Run the loop; asyncio.run would begin a thread at its end, which an ending process may not."""
        try:
            loop = asyncio.new_event_loop()
        except BaseException as exc:  # noqa: BLE001 (no file descriptor is left: the caller hears of it)
            begun.set_exception(exc)
            return
        try:
            loop.run_until_complete(self._until_stopped(begun))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _until_stopped(
        self, begun: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]"
    ) -> None:
        stopped = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), stopped))
        await stopped.wait()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._client.aclose()

    def tell(self) -> None:
        """Let the loop end, without waiting: a thread that drops a client may hold a lock that it needs."""
        with suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(self._stopped.set)

    def stop(self) -> None:
        """End all calls, close the connections and the loop."""
        self.tell()
        self._run.join()


def _result(future: Future[T]) -> T:
    """Wait for a call; Ctrl-C ends it."""
    try:
        return future.result()
    except CancelledError:
        raise RuntimeError("The client is closed.") from None
    except BaseException:
        future.cancel()
        raise
