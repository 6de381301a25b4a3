"""One GET of a large file, or of the rest of it, that is sure to end.

httpx limits the silence between two bytes, but neither the sum of its steps (name, connection,
TLS, redirects) nor a server that sends one byte now and then. asyncio.timeout limits both.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

FURTHER: Final = 10_000
"""New bytes that count as progress: at one try each 10 s, 1 kB/s, a third of a modem of 1994."""


class GetError(Exception):
    """A GET that failed and may be tried again, after `wait` seconds if the server said so."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


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


@contextlib.asynccontextmanager
async def get(url: str, start: int, *, first: float, timeout: float) -> AsyncIterator[Reply]:  # noqa: ASYNC109 (of each piece)
    """Ask for a file from byte `start` on. Proxies are those of the environment.

    Args:
        url: Where it is; redirects are followed.
        start: Bytes that need not come again.
        first: Seconds until the first byte of the body, from the name to the redirects.
        timeout: Seconds in which FURTHER bytes have to come after that.

    Raises:
        GetError: If it failed; its subclasses say what to do.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    deadline = time.monotonic() + first
    async with contextlib.AsyncExitStack() as stack:
        async with _until(deadline, f"no answer within {first:.1f} s"):
            httpx.URL(url).host.encode("idna")  # a ValueError for a name that cannot exist
            # httpx closes a socket on its own timeout, but leaks one cancelled during TLS.
            limit = httpx.Timeout(None, connect=0.9 * first)
            client = await stack.enter_async_context(
                httpx.AsyncClient(follow_redirects=True, timeout=limit)
            )
            response = await stack.enter_async_context(client.stream("GET", url, headers=headers))
        yield _reply(response, start, _body(response, deadline, timeout))


@contextlib.asynccontextmanager
async def _until(deadline: float, late: str) -> AsyncIterator[None]:
    """Limit the time of the block, and turn what httpx raises in it into a GetError."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except (TimeoutError, httpx.ConnectTimeout):
        raise GetError(late) from None
    except httpx.TransportError as exc:
        error = RefusedError if isinstance(exc, httpx.UnsupportedProtocol) else GetError
        raise error(str(exc) or type(exc).__name__) from exc
    except Exception as exc:  # an address, proxy or SSL_CERT_FILE of no use, endless redirects
        reason: BaseException = exc
        while isinstance(reason, BaseExceptionGroup):  # of the addresses that were tried
            reason = reason.exceptions[0]
        raise RefusedError(str(reason) or type(reason).__name__) from exc


async def _body(response: httpx.Response, deadline: float, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109 (of each piece)
    late = f"fewer than {FURTHER} bytes came in {timeout:.1f} s"
    come = FURTHER  # so that the first byte, too, sets a new deadline
    pieces = response.aiter_raw()
    while True:
        async with _until(deadline, late):
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
        raise RefusedError(f"it comes encoded as {encoding}")
    start = _start(response, asked)
    length, linked = response.headers.get("Content-Length"), _linked(response, "X-Linked-Size")
    sizes = {start + int(length)} if length else set[int]()
    if re.fullmatch("[0-9]{1,18}", linked):
        sizes.add(int(linked))
    digest = re.fullmatch(r'"?([0-9a-f]{64})"?', _linked(response, "X-Linked-ETag"))
    return Reply(start, sizes, f"sha256:{digest[1]}" if digest else None, body)


def _start(response: httpx.Response, asked: int) -> int:
    """Return the byte that the body starts with."""
    status = response.status_code
    answer = f"the server answers {status} {response.reason_phrase}"
    if status == HTTPStatus.OK:
        return 0
    if asked and status in {HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
        if response.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
            return asked
        raise RangeError(f"{answer}, so that the download cannot be resumed")
    passing = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if status in passing or response.is_server_error:
        wait = response.headers.get("Retry-After", "")
        raise GetError(answer, float(wait) if wait.isdecimal() else 0.0)  # dates are ignored
    raise RefusedError(answer)


def _linked(response: httpx.Response, header: str) -> str:
    """Find a header of the Hub, which is on the redirect and not on its target."""
    found = (hop.headers[header] for hop in (*response.history, response) if header in hop.headers)
    return next(found, "")
