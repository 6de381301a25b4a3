"""The bytes of the image that came with a request; never on disk."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import BadRequestError
from app.web.plain_form import only_file

T = TypeVar("T")

FIELD: Final = "file"
_MOST_TEXT_PARTS: Final = 4
_LARGEST_TEXT_PART: Final = 1024


class ClientLeftError(Exception):
    """The client closed the connection before it had its answer."""


class _MemoryParser(MultiPartParser):
    """Keeps a file in memory whatever its size: the body as a whole is bounded already."""

    spool_max_size = 2**40


async def read_upload(request: Request) -> bytes:
    """Return the image: the only file of a multipart body, or the raw body.

    Raises:
        BadRequestError: If a multipart body is broken, or has no file part or several.
        BodyTooLargeError: From the limits around the request.
        ClientDisconnect: If the client left meanwhile.
    """
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    if not content_type.lower().startswith("multipart/form-data"):
        return body
    if (file := only_file(content_type, body, FIELD)) is not None:
        return file
    return await _parse(request)


async def _parse(request: Request) -> bytes:
    """Find the file of any form, or say what is wrong with it."""
    parser = _MemoryParser(
        request.headers,
        request.stream(),  # of the body that was read
        max_files=1,
        max_fields=_MOST_TEXT_PARTS,
        max_part_size=_LARGEST_TEXT_PART,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as exc:
        detail = getattr(exc, "message", "it cannot be parsed")
        raise BadRequestError(f"The multipart body is not in order: {detail}") from exc
    try:
        file = form.get(FIELD)
        if len(form) > 1 and isinstance(file, UploadFile):
            raise BadRequestError(
                f"The multipart body has other parts than {FIELD!r}; parameters belong into the"
                " address: /predict?top_k=1"
            )
        if not isinstance(file, UploadFile):
            raise BadRequestError(
                f"The multipart body has no file part named {FIELD!r};"
                f" with curl: -F {FIELD}=@photo.jpg"
            )
        return await file.read()
    finally:
        await form.close()


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, and give it up as soon as the client is gone.

    Call it after the body was read. uvicorn by itself does not cancel the handler of a
    request whose client has left.

    Raises:
        ClientLeftError: If the client left; the work has ended by then.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        raise ClientLeftError
    finally:
        task.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
