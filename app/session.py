"""The only file that knows onnxruntime: a serving graph on a device."""

import ctypes
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.errors import OutOfMemoryError, RunFailedError, SessionError
from app.graph import STEM_FILE
from app.image_threads import ImageThreads
from app.records import PixelBatch, ProbabilityBatch

log = logging.getLogger(__name__)

PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OUT_OF_MEMORY: Final = ("Failed to allocate memory", "out of memory", "bad_alloc")
"""How onnxruntime and CUDA say it; there is no error code for it in Python."""

_SMALL: Final = 0.02
"""Seconds an image; a network that takes longer has layers that are worth sharing."""
_WORTH_IT: Final = 0.95
_ROUNDS: Final = 5

_FATAL_ONLY: Final = 4
_SAME_AS_REQUESTED: Final = 1


class Session:
    """A loaded serving graph.

    Attributes:
        device: `cpu` or `cuda`, where it really runs.
    """

    def __init__(
        self, graph: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int = 1
    ) -> None:
        """Load a graph.

        Args:
            graph: The .onnx file of a serving graph; its stem, if it has one, lies beside it.
            device: `cuda` fails where CUDA cannot be used, `auto` then takes the CPU.
            threads: Of one run, on a CPU.

        Raises:
            SessionError: If the graph cannot be loaded on that device.
        """
        lacking = _lacking_for_cuda()
        self.device = "cpu" if device == "cpu" or lacking else "cuda"
        if device == "cuda" and lacking:
            raise SessionError(_no_cuda(lacking))
        if self.device == "cuda" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # the CUDA libraries that are Python packages
        try:
            self._session = _open(graph, self.device, threads)
        except SessionError:
            if device != "auto":
                raise
            self.device = "cpu"
            self._session = _open(graph, self.device, threads)
        stem = graph.with_name(STEM_FILE)
        self._stem = _open(stem, self.device, threads, spin=True) if stem.exists() else None
        self._by_image = stem if self._stem else graph
        self._threads = threads
        self._apart: ImageThreads | None = None

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch.

        Args:
            batch: uint8 [N, crop, crop, 3], C-contiguous.

        Returns:
            float32 [N, 1000].

        Raises:
            RunFailedError: If onnxruntime fails, or a probability is not a number.
        """
        try:
            probabilities = self._run(batch)
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            if any(sign in str(exc) for sign in _OUT_OF_MEMORY):
                raise OutOfMemoryError("The device is out of memory.") from exc
            raise RunFailedError("The model failed on this batch.") from exc
        if not np.isfinite(probabilities).all():
            raise RunFailedError("The model gave values that are not numbers.")
        return probabilities

    def _run(self, batch: PixelBatch) -> ProbabilityBatch:
        apart = self._apart if len(batch) >= self._threads else None
        if self._stem is None:
            return apart.run(batch) if apart else _run(self._session, batch)
        if apart:
            maps = apart.run(batch)
        else:
            images = (batch[image : image + 1] for image in range(len(batch)))
            maps = np.concatenate([_run(self._stem, image) for image in images])
        return _run(self._session, maps)

    def tune(self, images: int) -> None:
        """Find out whether the threads should take whole images, and let them if so.

        By itself onnxruntime shares each layer among its threads, which have to wait for each
        other after each; where layers are small they wait for a good part of the time. A large
        network loses nothing by that: of it two images are run, and no batch.

        Args:
            images: The largest batch that will be run; too few for the threads change nothing.
        """
        if self.device != "cpu" or not 1 < self._threads <= images:
            return
        try:
            one = partial(self.run, self._blank(1))
            if self._stem is None and _least_seconds(one, rounds=1) > _SMALL:
                return
            shared = _least_seconds(partial(self.run, self._blank(images)))
            alone = partial(_run, _open(self._by_image, "cpu", 1))
            self._apart = ImageThreads(alone, self._threads)
            apart = _least_seconds(partial(self.run, self._blank(images)))
        except RunFailedError:  # which sizes a model takes is found out elsewhere
            self._apart = None
            return
        if apart > _WORTH_IT * shared:
            self._apart = None
        log.info(
            "a batch of %d takes %.1f ms if threads share layers, %.1f ms if each takes images",
            images,
            1000 * shared,
            1000 * apart,
        )

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run takes its own again."""
        if self.device != "cpu":
            return  # memory that was taken from a GPU stays, so that nobody else takes it
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        first = self._stem or self._session  # all sessions take from one arena
        first.run(None, {first.get_inputs()[0].name: self._blank(1)}, options)

    def _blank(self, images: int) -> PixelBatch:
        side = (self._stem or self._session).get_inputs()[0].shape[1]
        return np.zeros((images, side, side, 3), np.uint8)


def _run(session: ort.InferenceSession, values: NDArray[Any]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: values})[0]
    return result


def _least_seconds(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Return the least time of a few, after one more: neighbours only ever add."""
    work()
    least = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least


def _open(graph: Path, device: str, threads: int, *, spin: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the processors from the decoders between two runs. The many short
    # steps of a stem are a tenth faster with it, so there they spin while it runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Smaller and smaller shares of a layer: a thread that lost its processor to a decoder for a
    # while keeps the others waiting less (a batch of 8 beside 8 decodes: 1.4 % lost, not 4.5 %).
    options.add_session_config_entry("session.dynamic_block_base", "4")
    # A pattern is kept for each batch size, which holds the memory of all of them at once.
    options.enable_mem_pattern = False
    if device == "cpu":
        # Repacked weights are 3 % faster and need the memory of the weights a second time.
        options.add_session_config_entry("session.disable_prepacking", "1")
        _share_exact_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        providers = [PROVIDERS["cpu"]]
    else:
        # Without this, what CUDA cannot do would silently run on the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [PROVIDERS["cuda"]]
    try:
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        if device == "cuda":
            raise SessionError(_no_cuda(str(exc))) from exc
        raise SessionError(f"{graph} cannot be loaded: {exc}") from exc
    if session.get_providers()[0] != providers[0]:
        raise SessionError(_no_cuda("its libraries or its driver could not be loaded"))
    _return_freed_memory()
    return session


def _return_freed_memory() -> None:
    """Let glibc give back what loading has freed: 61 MB of a VGG-16, which it would keep."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


@cache
def _share_exact_arena() -> None:
    """Let onnxruntime's CPU memory grow by what is asked for, not by powers of two.

    Its own default keeps up to twice the memory of the largest run. The arena belongs to
    onnxruntime's process-wide environment, so this is done once a process.
    """
    ort.create_and_register_allocator(
        ort.OrtMemoryInfo(
            "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
        ),
        ort.OrtArenaCfg({"arena_extend_strategy": _SAME_AS_REQUESTED}),
    )


def _lacking_for_cuda() -> str | None:
    """Say what CUDA lacks here, if that can be told without trying it."""
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        return "onnxruntime-gpu is not installed"
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "there is no NVIDIA driver here, or this container was not given the GPU"
    return None


def _no_cuda(reason: str) -> str:
    return (
        f"CUDA was asked for and cannot be used: {reason}. Install requirements/cuda.txt and a"
        " driver for CUDA 13, or set VGG_DEVICE=auto or VGG_DEVICE=cpu."
    )
