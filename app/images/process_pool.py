"""Decode in processes of their own, which a file may crash, bloat or stall without hurting anyone.

What comes out of such a process is not trusted: it is a line of JSON and plain pixels, both of a
limited length, and never a pickle. Nothing is shared between the processes but their program.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, Pipe
from typing import Final

import numpy as np

from app.errors import CorruptImageError, RequestError, kinds
from app.images.prepare import Prepare
from app.records import ImageInfo, Pixels, Preprocess

CPU_SECONDS: Final = 5
"""Of one image; the slowest within the limits takes less than half (docs/performance.md)."""

WALL_SECONDS: Final = 10.0
"""Longest wait for one image, on however busy a machine."""

_LONGEST_LINE: Final = 4096
"""Bytes of JSON in an answer."""

_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
"""What a worker sees of the environment, which may hold secrets."""


class Isolated:
    """`prepare` in worker processes: one for each thread that calls it at a time."""

    def __init__(
        self,
        prepare: Prepare,
        *,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        """Start no process yet; the first image of each thread does.

        Args:
            prepare: What to do there; has to be picklable.
            cpu_seconds: What one image may take.
            wall_seconds: How long anyone waits for it.
        """
        self._prepare = prepare
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, data: bytes, preprocess: Preprocess) -> tuple[Pixels, ImageInfo]:
        """Do it in a process that does nothing else meanwhile.

        Raises:
            CorruptImageError: If the file ended the process or was not decoded in time, too.
            RequestError: Whatever `prepare` raises.
        """
        worker = self._take()
        watch = threading.Timer(self._wall_seconds, worker.kill)
        watch.start()
        began = time.monotonic()
        try:
            answer = worker.ask(data, preprocess)
        except (EOFError, OSError) as exc:
            late = time.monotonic() - began >= self._wall_seconds
            self._remove(worker)
            late |= worker.burnt_out
            why = "takes too long" if late else "ended the decoder"
            raise CorruptImageError(f"Decoding this file {why}; it was stopped.") from exc
        finally:
            watch.cancel()
        self._give_back(worker)
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def stop(self) -> None:
        """End every process; whoever waits for one gets a CorruptImageError."""
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for worker in busy:
            worker.kill()  # its pipe is closed by whoever reads it
        for worker in idle:
            worker.end()

    @property
    def pids(self) -> list[int]:
        """List the processes."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def _take(self) -> "_Worker":
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                self._all.discard(worker)
        worker = _Worker(self._prepare, self._cpu_seconds)
        with self._lock:
            self._all.add(worker)
        return worker

    def _give_back(self, worker: "_Worker") -> None:
        with self._lock:
            if not self._stopped:
                self._idle.append(worker)

    def _remove(self, worker: "_Worker") -> None:
        worker.end()
        with self._lock:
            self._all.discard(worker)


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, prepare: Prepare, cpu_seconds: int) -> None:
        self._pipe, theirs = Pipe()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [
                    sys.executable,
                    "-m",
                    "app.images.process_worker",
                    str(theirs.fileno()),
                    str(cpu_seconds),
                ],
                env=environment | {"OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._pipe.send_bytes(pickle.dumps(prepare))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def burnt_out(self) -> bool:
        return self._process.returncode == -signal.SIGXCPU

    def ask(self, data: bytes, preprocess: Preprocess) -> tuple[Pixels, ImageInfo] | RequestError:
        """Return what became of an image.

        Raises:
            EOFError: If the process ended.
            OSError: If it ended, or said something impossible.
        """
        self._pipe.send_bytes(pickle.dumps(preprocess))
        self._pipe.send_bytes(data)
        return _read(self._pipe, preprocess.crop)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._process.wait()
        self._pipe.close()


def _read(pipe: Connection, crop: int) -> tuple[Pixels, ImageInfo] | RequestError:
    """Read an answer, believing nothing of it.

    Raises:
        OSError: If it is not one.
    """
    try:
        said = json.loads(pipe.recv_bytes(_LONGEST_LINE))
        if "error" in said:
            limit = {str(key): float(value) for key, value in (said["limit"] or {}).items()}
            known = {kind.__name__: kind for kind in kinds(RequestError) if kind.crosses_processes}
            return known[said["error"]](str(said["detail"]), limit=limit or None)
        info = ImageInfo(int(said["width"]), int(said["height"]), str(said["format"]))
        pixels = np.frombuffer(pipe.recv_bytes(3 * crop * crop), np.uint8)
        return pixels.reshape(crop, crop, 3), info
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise OSError("the decoder's answer makes no sense") from exc
