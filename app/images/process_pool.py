"""Decode in separate processes, so that a file that crashes, bloats or stalls one hurts no other.

The answer of such a process is not trusted: it is a line of JSON and plain pixels, both of limited
length, and never a pickle. The processes share nothing but their program.
"""

import json
import logging
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

from app.errors import CorruptImageError, ModelFailedError, RequestError, kinds
from app.images.prepare import Prepare
from app.records import ImageInfo, Pixels, Preprocess

log = logging.getLogger(__name__)

CPU_SECONDS: Final = 5
"""Processor time per image; the slowest within the limits takes less than half of it."""

WALL_SECONDS: Final = 10.0
"""Longest wait for one image, however busy the machine is."""

_START_SECONDS: Final = 30.0
"""Longest wait for a new process."""

_LONGEST_LINE: Final = 4096
"""Bytes of JSON in an answer."""

_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
"""Variables that a process sees of the environment, which may hold secrets."""


class DecodeProcesses:
    """`prepare` in processes: as many as threads call it at the same time."""

    def __init__(
        self,
        prepare: Prepare,
        *,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        """Start no process yet; the first image of each thread does.

        Args:
            prepare: Runs in the processes; has to be picklable.
            cpu_seconds: Processor time per image.
            wall_seconds: Longest wait for one image.
        """
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
            RequestError: Any that `prepare` raises.
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
            process.end()
            late |= process.out_of_cpu_time
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
        """Start it, and wait until it is ready.

        Raises:
            EOFError: If it ended before.
            OSError: If it could not be started, or was not ready in time.
        """
        self._pipe, theirs = Pipe()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        command = [sys.executable, "-m", "app.images.process_worker"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [*command, str(theirs.fileno()), str(cpu_seconds)],
                env=environment | {"OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        try:
            self._wait_until_ready(prepare)
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self, prepare: Prepare) -> None:
        self._pipe.send_bytes(pickle.dumps(prepare))
        if not self._pipe.poll(_START_SECONDS):
            raise TimeoutError("the process was not ready in time")
        self._pipe.recv_bytes(_LONGEST_LINE)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def out_of_cpu_time(self) -> bool:
        return self._process.returncode == -signal.SIGXCPU

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

    def end(self) -> None:
        """Kill it, if it still runs, and free what it held."""
        self.kill()
        self._process.wait()
        self._pipe.close()


def _read(pipe: Connection, crop: int) -> tuple[Pixels, ImageInfo] | RequestError:
    """Read an answer without trusting it.

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
