"""A real server on this machine that misbehaves as its script says."""

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = random.Random(1).randbytes(300_000)
HALF = len(CONTENT) // 2
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Request:
    """What was asked; a handler lives for all requests of a connection."""

    path: str
    headers: Message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def do_GET(self):
        self.server.requests.append(Request(self.path, self.headers))
        answer = self.server.script.pop(0) if self.server.script else serve()
        answer(self)

    def log_message(self, *args):
        pass

    def head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def body(self, data):
        self.server.sent += len(data)
        self.wfile.write(data)


class FileServer(ThreadingHTTPServer):
    """A real server that follows a script, one answer a request, and then serves CONTENT."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Callable[[Handler], None]] = []
        self.requests: list[Request] = []
        self.sent = 0
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.closing = threading.Event()
        self.address = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.address}/vgg.bin"

    def handle_error(self, request, client_address):
        pass  # clients hang up here, and that is the point

    def ranges(self):
        return [request.headers.get("Range") for request in self.requests]


def serve(content=CONTENT, *, cut=None, hang_up=True, resumes=True, pause=False, extra=None):
    """Answer as a static file server does; `cut` stops after so many bytes of the body."""

    def answer(handler):
        start, headers = 0, dict(extra or {})
        wanted = handler.headers.get("Range")
        if resumes and wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.head(416, {"Content-Length": 0})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, headers | {"Content-Length": len(content) - start})
        if pause:
            handler.body(content[start:HALF])
            handler.server.half_sent.set()
            handler.server.go_on.wait(10)
            start = HALF
        handler.body(content[start:cut])
        handler.close_connection = hang_up and cut is not None

    return answer


def reply(status, headers=None, body=b""):
    """Answer with just this."""

    def answer(handler):
        handler.head(status, {"Content-Length": len(body), **(headers or {})})
        handler.body(body)

    return answer


def chunked(content, headers=None):
    """Answer without a Content-Length."""

    def answer(handler):
        handler.head(200, {"Transfer-Encoding": "chunked", **(headers or {})})
        for start in range(0, len(content), 50_000):
            piece = content[start : start + 50_000]
            handler.body(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def drip(head, piece):
    """Answer with these bytes and then, for as long as the test runs, a piece now and then."""

    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
        while not handler.server.closing.wait(0.02):
            handler.body(piece)

    return answer


DRIPS = {
    "head": drip(b"X-Slow: ", b"a"),
    "body": drip(f"Content-Length: {len(CONTENT)}\r\n\r\n".encode(), b"a"),
    "chunks": drip(b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "chunk-head": drip(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n9;", b"a"),
}
"""Servers that always send something and never get anywhere."""


@contextlib.contextmanager
def running(identity=None) -> Iterator[FileServer]:
    """Run a server as long as the block, with TLS if there is an identity."""
    with FileServer() as server:
        if identity is not None:
            server.socket = identity.wrap(server.socket)
            server.url = server.url.replace("http://", "https://")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.go_on.set()
            server.shutdown()
            thread.join()
