"""How onnxruntime is set for a GPU, and which of its ways is the fastest here."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from app.errors import OutOfMemoryError, VggServeError
from app.graph.serving_graph import INPUT
from app.runtime.bound_buffers import Memory, Runner
from app.runtime.cuda_errors import why_not
from app.runtime.ort import CUDA, TENSORRT, OpenGraph, Provider, binder

T = TypeVar("T")

log = logging.getLogger(__name__)

IN_FLIGHT: Final = 2
"""Batches that a GPU is given at a time: one runs, one is copied there."""
_ROUNDS: Final = 3
_NO_LIMIT: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Gpu:
    """Which GPU, and how much of it.

    Attributes:
        device_id: Its number.
        memory_limit: Bytes that onnxruntime may take; 0 for as many as it wants.
        tensorrt: Whether to run on TensorRT, where its libraries are.
    """

    device_id: int = 0
    memory_limit: int = 0
    tensorrt: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a graph with cuDNN.

    Attributes:
        search: `EXHAUSTIVE` tries every algorithm of a convolution, `HEURISTIC` believes cuDNN.
        channels_last: Whether convolutions get their images as [N, H, W, C].
        recorded: Whether the kernels of a batch size are recorded once and replayed (CUDA graphs).
    """

    search: str
    channels_last: bool
    recorded: bool = True

    def __str__(self) -> str:
        """Name it in a line of the log."""
        layout = "channels last" if self.channels_last else "channels first"
        return f"{layout}, {self.search.lower()} search, {'' if self.recorded else 'not '}recorded"


SAFE: Final = Way("HEURISTIC", channels_last=False, recorded=False)
"""Without a search and without recordings: for a few runs, and until `Session.tune`."""
WAYS: Final = (
    Way("EXHAUSTIVE", channels_last=True),
    Way("EXHAUSTIVE", channels_last=False),
    Way("HEURISTIC", channels_last=True),
    Way("HEURISTIC", channels_last=False),
    Way("EXHAUSTIVE", channels_last=False, recorded=False),
)
"""Those that are tried; the last is there should nothing be recorded."""


def providers(gpu: Gpu, way: Way, graph: Path, images: int, side: int) -> list[Provider]:
    """Say where onnxruntime is to run a graph; the first has to take all of it.

    Args:
        gpu: Which, and how much of it.
        way: How; TensorRT has its own.
        graph: Beside it TensorRT keeps what it has built.
        images: The largest batch.
        side: Of an image, in pixels.
    """
    cuda = {
        "device_id": str(gpu.device_id),
        "gpu_mem_limit": str(gpu.memory_limit or _NO_LIMIT),
        # Takes what is asked for, and not up to twice as much.
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": way.search,
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "0",  # float32 is float32; what should be fast is float16
        "prefer_nhwc": str(int(way.channels_last)),
        "enable_cuda_graph": str(int(way.recorded and not gpu.tensorrt)),
    }
    if not gpu.tensorrt:
        return [(CUDA, cuda)]
    shape = f"x{side}x{side}x3"
    tensorrt = {
        "device_id": str(gpu.device_id),
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(graph.parent / "tensorrt"),
        "trt_profile_min_shapes": f"{INPUT}:1{shape}",
        "trt_profile_opt_shapes": f"{INPUT}:{images}{shape}",
        "trt_profile_max_shapes": f"{INPUT}:{images}{shape}",
    }
    return [(TENSORRT, tensorrt), (CUDA, cuda)]


def make_runners(session: OpenGraph, memories: Iterable[Memory]) -> list[Runner]:
    """Make a runner for each memory; one thread runs the session for all of them."""
    gate = ThreadPoolExecutor(1, thread_name_prefix="device")
    numbers = itertools.count(1)  # 0 is onnxruntime's own
    bind = binder(session)
    return [Runner(memory, bind, gate, numbers) for memory in memories]


def fastest(
    ways: Iterable[Way],
    open_one: Callable[[Way], T],
    work: Callable[[T], object],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Way, T]:
    """Open a graph in each way, let it work, and keep the fastest.

    Args:
        ways: A way that fails is told in the log and left out.
        open_one: Loads the graph.
        work: Runs it; the first time may take longer.
        clock: In seconds.

    Returns:
        The way and what was opened.

    Raises:
        VggServeError: What the last one failed with, if all of them do.
    """
    best: tuple[float, Way, T] | None = None
    failure: VggServeError | None = None
    for way in ways:
        try:
            opened = open_one(way)
            seconds = _least_seconds(opened, work, clock)
        except VggServeError as exc:
            failure = exc
            log.warning("%s: fails: %s", way, why_not(str(exc.__cause__ or exc)))
            continue
        log.info("%s: %.2f ms", way, 1000 * seconds)
        if best is None or seconds < best[0]:
            best = (seconds, way, opened)
        del opened  # its memory, before the next takes its own
    if best is None:
        raise failure or VggServeError("There is no way to run it.")
    return best[1:]


def halving(images: int, attempt: Callable[[int], T]) -> T:
    """Attempt it with so many images, and with half of them as long as they do not fit.

    Raises:
        OutOfMemoryError: If not even one does.
    """
    while True:
        try:
            return attempt(images)
        except OutOfMemoryError:
            if images == 1:
                raise
            images //= 2


def _least_seconds(opened: T, work: Callable[[T], object], clock: Callable[[], float]) -> float:
    work(opened)
    work(opened)  # the second run of a way that records is the first that it replays
    times = []
    for _ in range(_ROUNDS):
        began = clock()
        work(opened)
        times.append(clock() - began)
    return min(times)
