"""One GET of a large file, or of the rest of it, that is sure to end.

httpx limits the silence between two bytes, but neither the sum of its steps (name, connection,
TLS, redirects) nor a server that sends one byte now and then. asyncio.timeout limits both.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from app.outgoing.clients import Client, download_client
from app.outgoing.failures import explain, or_by_server, refused_by_proxy
from app.outgoing.proxies import proxy_for
from app.outgoing.retry_after import retry_after
from app.setup_errors import SetupError

FURTHER: Final = 10_000
"""New bytes that count as progress: at one try each 10 s, 1 kB/s, a third of a modem of 1994."""


class GetError(Exception):
    """A GET that failed and may be tried again.

    Attributes:
        what: What happened.
        advice: What to do about it, in the imperative; empty if the caller knows, or `what` says it.
        status: The server's, if it answered; or 0.
        wait: Seconds for which the server asked; 0 if it did not.
        unreachable: Whether the server cannot be reached, so that another one may be.
        late: Whether it failed only because the time was over.
    """

    def __init__(
        self,
        what: str,
        advice: str = "",
        *,
        status: int = 0,
        wait: float = 0.0,
        unreachable: bool = False,
        late: bool = False,
    ) -> None:
        super().__init__(what)
        self.advice, self.status, self.wait = advice, status, wait
        self.unreachable, self.late = unreachable, late


class RangeError(GetError):
    """The server cannot send the rest of the file, but may send the whole."""


class RefusedError(GetError):
    """Trying again is of no use."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A body and what the server says of it.

    Attributes:
        start: The byte of the file that the body starts with: the one asked for, or 0.
        sizes: Bytes of the whole file, by its length and by the Hugging Face Hub's
            `X-Linked-Size`, as far as they are known.
        digest: `sha256:` and hex digits, from the Hub's `X-Linked-ETag`.
        body: The pieces as they come. Raises GetError when they stop coming.
    """

    start: int
    sizes: set[int]
    digest: str | None
    body: AsyncIterator[bytes]


class Lookups(ThreadPoolExecutor):
    """Runs each call in a daemon thread, so that nothing has to wait for one that hangs.

    A lookup of a name cannot be cancelled, and glibc alone tries 5 s twice. The executor of
    asyncio would keep `asyncio.run` and the end of the process waiting for it.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 (as its base)
        """Call in a new thread."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except Exception as exc:  # noqa: BLE001 (raised again by the one that awaits it)
                future.set_exception(exc)

        threading.Thread(target=run, name="lookup", daemon=True).start()
        return future


def open_client(headers: Mapping[str, str]) -> Client:
    """Open the client for `get`; a RefusedError if the environment does not allow it."""
    try:
        return download_client({"Accept-Encoding": "identity", **headers})
    except SetupError as exc:
        raise RefusedError(str(exc)) from exc


@contextlib.asynccontextmanager
async def get(
    client: Client,
    url: str,
    start: int,
    *,
    first: float,
    timeout: float,  # noqa: ASYNC109 (of each piece)
) -> AsyncIterator[Reply]:
    """Ask for a file from byte `start` on.

    Args:
        client: From `open_client`; for one request at a time.
        url: Where it is; redirects are followed.
        start: Bytes that need not come again.
        first: Seconds until the first byte of the body, from the name to the redirects.
        timeout: Seconds in which FURTHER bytes have to come after that.

    Raises:
        GetError: If it failed; its subclasses say what to do.
    """
    hops = [httpx.URL()]

    async def note(request: httpx.Request) -> None:
        hops.append(request.url)

    client.event_hooks = {"request": [note]}
    headers = {"Range": f"bytes={start}-"} if start else {}
    # httpx closes a socket on its own timeout, but leaks one cancelled during TLS.
    limit = httpx.Timeout(None, connect=0.9 * first)
    deadline = time.monotonic() + first
    async with contextlib.AsyncExitStack() as stack:
        async with _until(deadline, f"no answer within {first:.1f} s", hops):
            httpx.URL(url).host.encode("idna")  # a ValueError for a name that cannot exist
            stream = client.stream("GET", url, headers=headers, timeout=limit)
            response = await stack.enter_async_context(stream)
        yield _reply(response, start, _body(response, deadline, timeout))


@contextlib.asynccontextmanager
async def _until(
    deadline: float, late: str, hops: Sequence[httpx.URL], *, answered: bool = False
) -> AsyncIterator[None]:
    """Limit the time of the block, and turn what a request to the last hop raises into a GetError."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except Exception as exc:  # also an address, a proxy or a certificate file of no use
        failure = explain(exc, hops[-1], late)
        raise (RefusedError if failure.final else GetError)(
            failure.what,
            failure.advice,
            unreachable=failure.unreachable and not answered,
            late=isinstance(exc, TimeoutError | httpx.TimeoutException),
        ) from exc


async def _body(response: httpx.Response, deadline: float, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109 (of each piece)
    late = f"fewer than {FURTHER} bytes came in {timeout:.1f} s"
    come = FURTHER  # so that the first byte, too, sets a new deadline
    pieces = response.aiter_raw()
    while True:
        async with _until(deadline, late, [response.url], answered=True):
            data = await anext(pieces, b"")
        if not data:
            return
        come += len(data)
        received = time.monotonic()
        if come >= FURTHER:
            come, deadline = 0, received + timeout
        yield data
        deadline += time.monotonic() - received  # a slow disk is not the server's fault


def _reply(response: httpx.Response, asked: int, body: AsyncIterator[bytes]) -> Reply:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise RefusedError(f"it comes encoded as {encoding}", "correct the url in its manifest")
    start = _start(response, asked)
    length, linked = response.headers.get("Content-Length"), _linked(response, "X-Linked-Size")
    sizes = {start + int(length)} if length else set[int]()
    if re.fullmatch("[0-9]{1,18}", linked):
        sizes.add(int(linked))
    digest = re.fullmatch(r'"?([0-9a-f]{64})"?', _linked(response, "X-Linked-ETag"))
    return Reply(start, sizes, f"sha256:{digest[1]}" if digest else None, body)


def _start(response: httpx.Response, asked: int) -> int:
    """Return the byte that the body starts with."""
    status, proxy = response.status_code, proxy_for(response.url)
    answer = f"{status} {response.reason_phrase}"
    if status == HTTPStatus.OK:
        return 0
    if asked and status in {HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
        if response.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
            return asked
        raise RangeError(f"the server answers {answer}, so that the download cannot be resumed")
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and proxy is not None:
        failure = refused_by_proxy(proxy, answer, response.url)
        raise RefusedError(failure.what, failure.advice)
    by_proxy = status == HTTPStatus.FORBIDDEN and proxy and response.url.scheme == "http"
    between = f", through {proxy}," if proxy and response.url.scheme == "http" else ""
    passing = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    # The address that a redirect names may have expired; another try gets a new one.
    expired = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} if response.history else set()
    may_pass = status in passing | expired or response.is_server_error
    raise (GetError if may_pass else RefusedError)(
        f"{response.url.host}{between} answers {answer}",
        or_by_server(proxy, response.url) if proxy and by_proxy else "",
        status=status,
        wait=(may_pass and retry_after(response.headers)) or 0.0,
    )


def _linked(response: httpx.Response, header: str) -> str:
    """Find a header of the Hub, which is on the redirect and not on its target."""
    found = (hop.headers[header] for hop in (*response.history, response) if header in hop.headers)
    return next(found, "")
