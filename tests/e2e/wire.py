"""A client that may break every rule of HTTP: bytes go out as they are, answers are parsed."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> tuple[int, str]:
        """Return the status and the type of an answer that is a problem in its only shape."""
        assert "application/problem+json" == self.headers["content-type"], self
        body: dict[str, Any] = json.loads(self.body)
        assert body["error"] == body["detail"]
        assert {"type", "title", "status", "detail", "request_id", "retryable"} <= set(body)
        assert (self.status, self.headers["x-request-id"]) == (body["status"], body["request_id"])
        assert "default-src 'none'" in self.headers["content-security-policy"]
        assert "nosniff" == self.headers["x-content-type-options"]
        return self.status, body["type"].removeprefix("/problems/")


class Wire:
    """One connection."""

    def __init__(self, connection: socket.socket, lines: BinaryIO) -> None:
        self.socket = connection
        self._lines = lines

    def send(self, data: bytes) -> bool:
        """Send everything; tell whether the other side took it."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def answer(self) -> Answer:
        """Read one answer."""
        status = self._lines.readline()
        assert status.startswith(b"HTTP/1.1 "), status
        headers: dict[str, str] = {}
        while line := self._lines.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = self._lines.read(int(headers["content-length"]))
        return Answer(int(status.split()[1]), headers, body)

    def closed(self) -> bool:
        """Wait for the end of the connection; tell whether nothing came before it."""
        try:
            return self._lines.read(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def wire_to(url: str) -> Iterator[Wire]:
    """Connect to a server; no wait takes longer than 20 s."""
    where = urlsplit(url)
    address = (where.hostname or "", where.port or 0)
    with (
        socket.create_connection(address, timeout=20) as opened,
        opened.makefile("rb") as lines,
    ):
        yield Wire(opened, lines)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a request as it should be; headers by their names with _ for -."""
    fields = {"host": "x", "content_length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value]
    return "\r\n".join([*lines, "", ""]).encode() + body
