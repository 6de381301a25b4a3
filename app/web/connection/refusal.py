"""The answer to a connection that is closed before a request was read."""

import logging
import uuid
from collections.abc import Iterable
from http import HTTPStatus

from app.errors import RequestError, ServiceError
from app.web.middleware.envelope import SAFE_HEADERS
from app.web.problems import answer_error

log = logging.getLogger(__name__)


def write_refusal(
    error: RequestError | ServiceError, default_headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Return the bytes of a problem, the last answer of its connection, and log it.

    Args:
        error: The reason.
        default_headers: uvicorn's headers for every answer.
    """
    request_id = uuid.uuid4().hex
    response = answer_error({"headers": [], "state": {"request_id": request_id}}, error)
    log.info(
        "connection closed before a request: %d",
        error.status,
        extra={"request_id": request_id, "problem": error.slug},
    )
    headers = [
        *default_headers,
        *response.raw_headers,
        *SAFE_HEADERS,
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    phrase = HTTPStatus(error.status).phrase
    return f"HTTP/1.1 {error.status} {phrase}\r\n".encode() + lines + b"\r\n" + response.body
