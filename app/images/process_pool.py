"""Decode in separate processes, so that a file that crashes, bloats or stalls one hurts no other.

The answer of such a process is not trusted: it is a line of JSON and plain pixels, both of limited
length, and never a pickle. The processes share nothing but their program.
"""

import json
import logging
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import CorruptImageError, ModelFailedError, RequestError, kinds
from app.images.prepare import Prepare, ignore_warnings
from app.records import ImageInfo, Pixels, Preprocess

log = logging.getLogger(__name__)

CPU_SECONDS: Final = 5
"""Processor time per image; the slowest within the limits takes less than half of it."""

WALL_SECONDS: Final = 10.0
"""Longest wait for one image, however busy the machine is."""

_START_SECONDS: Final = 30.0
"""Longest wait for a new process."""

MEMORY: Final = 1 << 30
"""Bytes of address space beyond the idle process; 40 MP of WebP with alpha take 0.8 of them."""

_LONGEST_LINE: Final = 4096
"""Bytes of JSON in an answer."""

_PASSED_ON: Final = ("HOME", "PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
"""Variables that a process sees of the environment, which may hold secrets. Without HOME, Python looks up the user."""


class DecodeProcesses:
    """`prepare` in processes: as many as threads call it at the same time."""

    def __init__(
        self,
        prepare: Prepare,
        *,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        """Start no process yet; the first image of each thread does. `prepare` has to be picklable."""
        self._prepare = prepare
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, data: bytes, preprocess: Preprocess) -> tuple[Pixels, ImageInfo]:
        """Prepare one image in a process that does nothing else meanwhile.

        Raises:
            CorruptImageError: Also if the file ended the process or took too long.
            ModelFailedError: If no process could be started.
        """
        process = self._take()
        watch = threading.Timer(self._wall_seconds, process.kill)
        watch.start()
        began = time.monotonic()
        answer = None
        try:
            answer = process.ask(data, preprocess)
        except (EOFError, OSError) as exc:
            late = time.monotonic() - began >= self._wall_seconds
            late |= process.end() == -signal.SIGXCPU
            why = "took too long to decode" if late else "crashed the decoder"
            raise CorruptImageError(f"The file {why}.") from exc
        finally:
            watch.cancel()
            self._give_back(process, usable=answer is not None)
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def stop(self) -> None:
        """End every process; images that are being decoded get a CorruptImageError."""
        with self._lock:
            self._stopped = True
            for process in self._busy:
                process.kill()  # the thread that reads its pipe closes it
            for process in self._idle:
                process.end()
            self._idle.clear()

    def _take(self) -> "_Process":
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    self._busy.add(process)
                    return process
                process.end()
        try:
            process = _Process(self._prepare, self._cpu_seconds)
        except (EOFError, OSError) as exc:
            log.exception("cannot start a decoding process")
            raise ModelFailedError(
                "The server could not start a process to decode images."
            ) from exc
        with self._lock:
            self._busy.add(process)
        return process

    def _give_back(self, process: "_Process", *, usable: bool) -> None:
        with self._lock:
            self._busy.discard(process)
            if usable and not self._stopped:
                self._idle.append(process)
                return
        process.end()


class _Process:
    """One process, and the pipe to it."""

    def __init__(self, prepare: Prepare, cpu_seconds: int) -> None:
        """Start it, and wait until it is ready; EOFError and OSError say that it did not get there."""
        self._pipe, theirs = Pipe()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        command = [sys.executable, "-m", "app.images.process_pool"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [*command, str(theirs.fileno()), str(cpu_seconds)],
                env=environment | {"OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        try:
            self._pipe.send_bytes(pickle.dumps(prepare))
            if not self._pipe.poll(_START_SECONDS):
                raise TimeoutError("the process was not ready in time")  # noqa: TRY301
            self._pipe.recv_bytes(_LONGEST_LINE)
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, data: bytes, preprocess: Preprocess) -> tuple[Pixels, ImageInfo] | RequestError:
        """Return what became of an image.

        Raises:
            EOFError: If the process ended.
            OSError: If it ended, or its answer is impossible.
        """
        self._pipe.send_bytes(pickle.dumps(preprocess))
        self._pipe.send_bytes(data)
        return _read(self._pipe, preprocess.crop)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Kill it, if it still runs, free what it held, and return its exit code."""
        self.kill()
        self._pipe.close()
        return self._process.wait()


def _read(pipe: Connection, crop: int) -> tuple[Pixels, ImageInfo] | RequestError:
    """Read an answer without trusting it: an OSError if it is not one."""
    try:
        said = json.loads(pipe.recv_bytes(_LONGEST_LINE))
        if "error" in said:
            limit = {str(key): _number(value) for key, value in (said["limit"] or {}).items()}
            known = {kind.__name__: kind for kind in kinds(RequestError) if kind.crosses_processes}
            return known[said["error"]](str(said["detail"]), limit=limit or None)
        info = ImageInfo(int(said["width"]), int(said["height"]), str(said["format"]))
        pixels = np.frombuffer(pipe.recv_bytes(3 * crop * crop), np.uint8)
        return pixels.reshape(crop, crop, 3), info
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise OSError("the decoder's answer makes no sense") from exc


def _number(value: object) -> float:
    """Return a number as it is, a whole one too: a client gets the same limit from any process."""
    if type(value) not in {int, float}:
        raise TypeError(f"{value!r} is not a number")
    return value  # type: ignore[return-value] # it is


def serve(pipe: Connection, cpu_seconds: int) -> None:
    """Be a decoding process: prepare the images that come through the pipe until it is closed.

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
    with suppress(FileNotFoundError):  # only Linux says how much is in use
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    with suppress(EOFError):  # the parent has ended
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
