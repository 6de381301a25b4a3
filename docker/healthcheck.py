"""Exit with 0 if the service of this environment is ready; otherwise print why not and exit with 1."""

import os
import socket
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

PATIENCE = 4
"""Seconds; Docker ends the health check after 5."""


def find_host(setting: str) -> str:
    """Return where to ask for what VGG_HOST says: each address of this machine includes 127.0.0.1."""
    host = setting.strip().removeprefix("[").removesuffix("]")
    try:
        return "127.0.0.1" if host in {"", "*"} or ip_address(host).is_unspecified else host
    except ValueError:  # a name
        return host


def find_port(setting: str) -> int:
    """Return the port; Kubernetes writes tcp://... into VGG_PORT for a Service called vgg."""
    return 8000 if setting == "" or "://" in setting else int(setting)


class UnixConnection(HTTPConnection):
    """A connection to the Unix socket of VGG_UDS."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        """Connect to the file, not to a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


uds = os.environ.get("VGG_UDS", "")
host = find_host(os.environ.get("VGG_HOST", ""))
port = find_port(os.environ.get("VGG_PORT", ""))
place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
place = f"unix:{uds}" if uds else place
# Unlike urllib, this ignores the proxies of the environment. The path has no prefix: VGG_ROOT_PATH
# is for those who ask another server for it.
try:
    connection = UnixConnection(uds) if uds else HTTPConnection(host, port, timeout=PATIENCE)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
except (OSError, HTTPException, UnicodeError) as error:  # the last: it cannot be a name
    sys.exit(f"{place}/readyz: {error}")
if answer.status != HTTPStatus.OK:
    sys.exit(text or f"{place}/readyz: {answer.status}")
sys.stdout.write(f"{text}\n")
