"""The program of a decoding process: `python -m app.images.process_worker FD CPU_SECONDS`."""

import contextlib
import json
import math
import pickle
import resource
import signal
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from app.errors import RequestError
from app.images.prepare import Prepare, ignore_warnings
from app.records import Preprocess

MEMORY: Final = 1 << 30
"""Bytes of address space beyond the idle process; 40 MP of WebP with alpha take 0.8 of them."""


def serve(pipe: Connection, cpu_seconds: int) -> None:
    """Decode the images that come through the pipe until it is closed.

    Args:
        pipe: To `app.images.process_pool`.
        cpu_seconds: Processor time per image.

    Source:
        setrlimit(2): beyond its soft limit of CPU time a process gets SIGXCPU, which ends it.
    """
    prepare: Prepare = pickle.loads(pipe.recv_bytes())  # noqa: S301 (from the parent)
    _limit()
    ignore_warnings()
    pipe.send_bytes(b"ready")
    while True:
        preprocess: Preprocess = pickle.loads(pipe.recv_bytes())  # noqa: S301 (from the parent)
        data = pipe.recv_bytes()
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = math.ceil(time.process_time()) + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        try:
            pixels, info = prepare(data, preprocess)
        except RequestError as exc:
            error = {"error": type(exc).__name__, "detail": str(exc), "limit": exc.limit}
            pipe.send_bytes(json.dumps(error).encode())
        else:
            pipe.send_bytes(json.dumps(asdict(info)).encode())
            pipe.send_bytes(pixels.tobytes())


def _limit() -> None:
    """Take away what decoding does not need: files, core dumps, most of the memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(FileNotFoundError):  # only Linux says how much is in use
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    with contextlib.suppress(EOFError):  # the parent has ended
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
