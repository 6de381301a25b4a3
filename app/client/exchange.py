"""One request and its answer, of which neither fills the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final, Self, TypeVar

import httpcore
import httpx

from app.client.address import CONNECT, shown, why_unreachable
from app.client.errors import (
    ChangedError,
    NoAnswerError,
    UnreachableError,
)
from app.client.photo import Photo
from app.client.reply import TOO_LARGE, Reply
from app.outgoing.clients import Client

T = TypeVar("T")

_MOST_ANSWER: Final = 2**24
"""Bytes of an answer; a class takes about 100 of them."""
_CONNECTING: Final = 30.0
"""Seconds until the photo is asked for: httpx would wait for a silent SOCKS proxy without limit."""
SILENCE: Final = 60.0
"""Seconds without a byte from the server, which answers within 10 s, and for the whole answer once it has begun."""
_PIECE: Final = 2**18
"""Bytes that are read at a time."""
_LARGE: Final = 2**20
"""Bytes of a photo from which on the server's limit may be why it was not answered."""
_FOR_LIMIT: Final = 5.0
"""Seconds that the limit is waited for."""


async def post(
    client: Client, url: httpx.URL, params: Mapping[str, str], photo: Photo, server: httpx.URL
) -> Reply:
    """Send a photo once and return whatever the server answers.

    A server refuses a body that is too large as soon as it has read the head, and closes the
    connection while we still send: then its answer is lost, and the head alone is sent once more.

    Args:
        client: Of `open_client`.
        url: Where to post.
        params: Of the query.
        photo: It is sent from its beginning.
        server: For sentences.

    Raises:
        UnreachableError: If there is no connection.
        NoAnswerError: If it ends before the answer is whole.
        ChangedError: If the photo has another size now.
        OSError: If the photo cannot be read.
    """
    await in_thread(photo.file, photo.begin)
    head = {"Content-Type": "application/octet-stream", "Content-Length": str(photo.size)}
    ask = partial(exchange, client, "POST", url, server, params=params, headers=head)
    try:
        return await ask(content=_pieces(photo.file, photo.size))
    except NoAnswerError:
        if photo.size > _LARGE:
            with suppress(UnreachableError, NoAnswerError):
                reply = await ask(content=_HeadAlone(), silence=_FOR_LIMIT)
                if reply.status == TOO_LARGE:
                    return reply
        raise


async def exchange(
    client: Client,
    method: str,
    url: httpx.URL,
    server: httpx.URL,
    *,
    content: AsyncIterator[bytes] | None = None,
    silence: float = SILENCE,
    **options: Any,  # noqa: ANN401 (as httpx)
) -> Reply:
    """Send a request and read the answer, at most _MOST_ANSWER of it; it raises as `post` does."""
    connecting = asyncio.timeout(_CONNECTING)
    request = client.build_request(
        method,
        url,
        content=None if content is None else _once_connected(connecting, content),
        timeout=httpx.Timeout(silence, connect=CONNECT, pool=None),
        **options,
    )
    received = bytearray()
    try:
        async with connecting:
            response = await client.send(request, stream=True)
        try:
            async with asyncio.timeout(silence):
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > _MOST_ANSWER:
                        break
        finally:
            await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise UnreachableError(why_unreachable(server, exc)) from exc
    except TimeoutError as exc:
        kind = UnreachableError if connecting.expired() else NoAnswerError
        raise kind(why_unreachable(server, exc)) from exc
    except httpx.RequestError as exc:
        raise NoAnswerError(why_unreachable(server, exc)) from exc
    return Reply(
        shown(server),
        response.status_code,
        response.reason_phrase,
        response.headers,
        bytes(received),
        with_key="Authorization" in request.headers,
    )


async def in_thread(source: object, work: Callable[..., T], *args: object) -> T:
    """Call what may wait for a disk in a thread, and what has its bytes in memory at once."""
    if isinstance(source, BytesIO | bytes):
        return work(*args)
    return await asyncio.to_thread(work, *args)


async def _once_connected(
    connecting: asyncio.Timeout, content: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    connecting.reschedule(None)
    async for piece in content:
        yield piece


class _HeadAlone:
    """A body that ends the sending before it begins, so that httpcore reads the answer to the head."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise httpcore.WriteError


async def _pieces(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    """Read a file up to the size that was announced."""
    while size > 0:
        piece = await in_thread(file, file.read, min(size, _PIECE))
        if not piece:
            raise ChangedError("The file changed while it was sent.")
        size -= len(piece)
        yield piece
