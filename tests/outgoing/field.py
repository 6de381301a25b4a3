"""What stands between this machine and others: proxies, an authority of one's own, and variables."""

import contextlib
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.outgoing.certificates import VARIABLES

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
OF_THE_HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE")


def leave_alone(monkeypatch):
    """Unset all that this machine says about proxies, certificates and the hub."""
    for name in (*PROXIES, *(name.upper() for name in PROXIES), *VARIABLES, *OF_THE_HUB):
        monkeypatch.delenv(name, raising=False)


class Middle(socketserver.ThreadingTCPServer):
    """A proxy that leads every request to one server, whatever host it asks for.

    Attributes:
        asked: What clients asked for.
        login: `USER:PASSWORD` without which nothing is forwarded; None to forward everything.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler, to, login=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.to, self.login = to, login
        self.asked: list[str] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass  # clients hang up here


class HttpProxy(socketserver.StreamRequestHandler):
    """Forwards HTTP, and tunnels for CONNECT."""

    server: Middle

    def handle(self):
        head = [self.rfile.readline()]
        while head[-1] not in {b"\r\n", b""}:
            head.append(self.rfile.readline())
        method, target, _ = head[0].decode().split(" ", 2)
        self.server.asked.append(f"{method} {target}")
        wanted = self.server.login and b64encode(self.server.login.encode())
        if wanted and b"Proxy-Authorization: Basic " + wanted + b"\r\n" not in head:
            self.wfile.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
            )
            return
        with socket.create_connection(self.server.to) as server:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                head[0] = f"{method} {path} HTTP/1.1\r\n".encode()
                server.sendall(b"".join(head))
            pump(self.request, server)


class SocksProxy(socketserver.StreamRequestHandler):
    """Tunnels as RFC 1928 says, with the log-in of RFC 1929."""

    server: Middle

    def handle(self):
        _version, count = self.rfile.read(2)
        methods = self.rfile.read(count)
        method = 2 if self.server.login else 0
        if method not in methods:
            self.wfile.write(b"\x05\xff")
            return
        self.wfile.write(bytes([5, method]))
        if method:
            self.rfile.read(1)
            user, password = (self.rfile.read(self.rfile.read(1)[0]).decode() for _ in range(2))
            right = f"{user}:{password}" == self.server.login
            self.wfile.write(bytes([1, 0 if right else 1]))
            if not right:
                return
        kind = self.rfile.read(4)[3]
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, self.rfile.read(4 if kind == 1 else 16))
        (port,) = struct.unpack("!H", self.rfile.read(2))
        self.server.asked.append(f"{host}:{port}")
        with socket.create_connection(self.server.to) as server:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            pump(self.request, server)


def pump(one, other):
    """Carry bytes both ways until a side ends."""

    def carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join()


@contextlib.contextmanager
def middle(handler, server, login=None, identity=None):
    """Run a proxy that leads to `server`, with TLS if there is an identity."""
    with Middle(handler, server.server_address[:2], login) as proxy:
        if identity is not None:
            proxy.socket = identity.wrap(proxy.socket)
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@dataclass(frozen=True)
class Identity:
    """A certificate for three names under `.invalid` and this machine, and who signed it."""

    authority: Path
    certificate: Path
    key: Path

    def wrap(self, listener):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context.wrap_socket(listener, server_side=True)


def make_identity(folder, *, days=2):
    """Make an authority and a certificate with openssl."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    paths = [folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key")]
    authority, authority_key, certificate, key = paths
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    new += ["-nodes", "-days", str(days)]
    signed = ["-CA", authority, "-CAkey", authority_key, "-addext", "basicConstraints=CA:FALSE"]
    signed += [
        "-addext",
        "subjectAltName=DNS:weights.invalid,DNS:hub.invalid,DNS:vgg.invalid,IP:127.0.0.1",
    ]
    for command in (
        [*new, "-subj", "/CN=authority", "-keyout", authority_key, "-out", authority],
        [*new, "-subj", "/CN=server", "-keyout", key, "-out", certificate, *signed],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return Identity(authority, certificate, key)
