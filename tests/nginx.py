"""nginx with docker/nginx/vgg.conf, in front of replicas of the service."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

CONFIGURATION = (REPOSITORY / "docker" / "nginx" / "vgg.conf").read_text()
MAIN = """
{user} daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  {included}
}}
"""


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in opened]
    for one in opened:
        one.close()
    return ports


@contextmanager
def nginx(
    folder: Path, replicas: Sequence[int], changes: Sequence[tuple[str, str]] = ()
) -> Iterator[str]:
    """Run nginx in front of two ports; yield the address of the service behind it.

    Args:
        folder: An empty folder for its files.
        replicas: Two ports; the same twice for one replica.
        changes: Replaced texts of the configuration.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    [port] = free_ports(1)
    ports = (("8001", replicas[0]), ("8002", replicas[1]), ("8080", port))
    text = CONFIGURATION
    for old, new in [(f"127.0.0.1:{old};", f"127.0.0.1:{new};") for old, new in ports] + [
        *[(f"127.0.0.1:{old} ", f"127.0.0.1:{new} ") for old, new in ports],
        *changes,
    ]:
        text = text.replace(old, new)
    user = "user root;" if os.geteuid() == 0 else ""  # who else may write into the folder?
    (folder / "nginx.conf").write_text(MAIN.format(included=text, user=user))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=log
        )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)  # it says nothing when it listens
        yield f"http://127.0.0.1:{port}/vgg"
    finally:
        process.terminate()
        process.wait(10)
