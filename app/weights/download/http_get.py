"""One GET of a large file, or of the rest of it, that is sure to end.

httpx limits the silence between two bytes, but neither the resolver (glibc alone tries 5 s
twice) nor the sum of its steps, nor a server that sends one byte now and then. So a thread
does the reading, and the one who waits for it has a clock.
"""

import contextlib
import queue
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import httpx

from app.weights.download.patience import FURTHER

_USELESS: Final = (httpx.UnsupportedProtocol, httpx.TooManyRedirects)
_Mail: TypeAlias = "queue.Queue[httpx.Response | bytes | Exception]"


class GetError(Exception):
    """A GET that failed and may be tried again.

    Attributes:
        wait: Seconds for which the server asked before the next one.
    """

    def __init__(self, what: str, wait: float = 0.0) -> None:
        """Say what happened."""
        super().__init__(what)
        self.wait = wait


class RangeError(GetError):
    """The rest of the file cannot be had, but the whole may."""


class RefusedError(GetError):
    """Trying again is of no use."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A body and what the server says of it.

    Attributes:
        start: Which byte of the file the body starts with: the one asked for, or 0.
        size: Bytes of the whole file; None if the server does not say.
        linked_size: The same, in the words of the Hugging Face Hub.
        linked_digest: `sha256:` and hex digits, in the words of the Hub.
        body: The pieces as they come. Raises GetError when they stop coming.
    """

    start: int
    size: int | None
    linked_size: int | None
    linked_digest: str | None
    body: Iterator[bytes]


@contextlib.contextmanager
def get(url: str, start: int, *, first: float, timeout: float) -> Iterator[Reply]:
    """Ask for a file from byte `start` on. Proxies are those of the environment.

    Args:
        url: Where it is; redirects are followed.
        start: Bytes that need not come again.
        first: Seconds until the first byte of the body, from the name to the redirects.
        timeout: Seconds in which FURTHER have to come after that.

    Raises:
        GetError: If it failed; its subclasses say what to do.
    """
    mail: _Mail = queue.Queue(maxsize=8)
    left = threading.Event()
    args = (url, start, timeout, mail, left)
    threading.Thread(target=_read, args=args, name="download", daemon=True).start()
    try:
        deadline = time.monotonic() + first
        response = _next(mail, deadline, f"no answer within {first:.1f} s")
        assert isinstance(response, httpx.Response)  # noqa: S101 - narrows the type
        yield _reply(response, start, _body(mail, deadline, timeout))
    finally:  # the thread closes the connection at its next byte, or after `timeout`
        left.set()
        with contextlib.suppress(queue.Empty):
            while True:
                mail.get_nowait()


def _read(url: str, start: int, timeout: float, mail: _Mail, left: threading.Event) -> None:
    """Put the response, the pieces of its body and an empty one into the mail, or an error."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=timeout) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            mail.put(response)
            for data in response.iter_raw():
                if left.is_set():
                    return
                mail.put(data)
            mail.put(b"")
    except Exception as exc:  # noqa: BLE001 - raised again by the one who waits
        mail.put(exc)


def _next(mail: _Mail, deadline: float, late: str) -> httpx.Response | bytes:
    try:
        item = mail.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise GetError(late) from None
    if not isinstance(item, Exception):
        return item
    what = str(item) or type(item).__name__
    if isinstance(item, httpx.HTTPError) and not isinstance(item, _USELESS):
        raise GetError(what) from item
    raise RefusedError(what) from item  # an address, proxy or SSL_CERT_FILE of no use


def _body(mail: _Mail, deadline: float, timeout: float) -> Iterator[bytes]:
    late = f"fewer than {FURTHER} bytes came in {timeout:.1f} s"
    come = FURTHER  # so that the first byte, too, sets a new deadline
    while data := _next(mail, deadline, late):
        assert isinstance(data, bytes)  # noqa: S101 - narrows the type
        come += len(data)
        if come >= FURTHER:
            come, deadline = 0, time.monotonic() + timeout
        yield data


def _reply(response: httpx.Response, asked: int, body: Iterator[bytes]) -> Reply:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise RefusedError(f"it comes encoded as {encoding}")
    start = _start(response, asked)
    length = response.headers.get("Content-Length")
    linked_size = _linked(response, "X-Linked-Size")
    digest = re.fullmatch(r'"?([0-9a-f]{64})"?', _linked(response, "X-Linked-ETag"))
    return Reply(
        start,
        start + int(length) if length else None,
        int(linked_size) if linked_size.isdecimal() else None,
        f"sha256:{digest[1]}" if digest else None,
        body,
    )


def _start(response: httpx.Response, asked: int) -> int:
    """Return the byte that the body starts with."""
    status = response.status_code
    answer = f"the server answers {status} {response.reason_phrase}"
    ranges = {HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
    if status == HTTPStatus.OK:
        return 0
    if asked and status in ranges:
        if response.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
            return asked
        raise RangeError(f"{answer}, which is no way to resume")
    passing = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if status in passing or response.is_server_error:
        wait = response.headers.get("Retry-After", "")
        raise GetError(answer, float(wait) if wait.isdecimal() else 0.0)  # not for dates
    raise RefusedError(answer)


def _linked(response: httpx.Response, header: str) -> str:
    """Look for a header of the Hub, which stands on the redirect rather than on its target."""
    found = (hop.headers[header] for hop in (*response.history, response) if header in hop.headers)
    return next(found, "")
