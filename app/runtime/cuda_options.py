"""onnxruntime's options for a GPU, and which of them are the fastest here."""

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from timeit import repeat
from typing import Final, Protocol, TypeVar

from app.errors import VggServeError
from app.graph.serving_graph import INPUT
from app.runtime.device_errors import why_not
from app.runtime.ort import CUDA, TENSORRT, Provider

log = logging.getLogger(__name__)

_WARM_UP: Final = 2
"""Runs that do not count: the second one of a candidate that records is the first that it replays."""
_ROUNDS: Final = _WARM_UP + 3
_NO_LIMIT: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Gpu:
    """Which GPU to use, and how much of it.

    Attributes:
        memory_limit: Bytes that onnxruntime may allocate; 0 for no limit.
        tensorrt: Whether to run on TensorRT, whose libraries have to be installed.
    """

    device_id: int = 0
    memory_limit: int = 0
    tensorrt: bool = False


@dataclass(frozen=True, slots=True)
class CudaOptions:
    """How onnxruntime runs a graph with cuDNN, which chooses the algorithms.

    Trying every algorithm instead (`EXHAUSTIVE`) gave some batch sizes a fifth of the speed on an H100.

    Attributes:
        channels_last: Whether convolutions get their images as [N, H, W, C].
        recorded: Whether the kernels of a batch size are recorded once and replayed (CUDA graphs).
    """

    channels_last: bool
    recorded: bool = True

    def __str__(self) -> str:
        """Return the options as the log shows them."""
        layout = "channels last" if self.channels_last else "channels first"
        return f"{layout}, {'' if self.recorded else 'not '}recorded"


SAFE: Final = CudaOptions(channels_last=False, recorded=False)
"""Does not record: used for a few runs, and until a session is tuned."""
CANDIDATES: Final = (
    CudaOptions(channels_last=True),
    CudaOptions(channels_last=False),
    CudaOptions(channels_last=True, recorded=False),
)
"""Options that tuning tries; the last only if nothing was recorded.

Recorded or not, the largest batch takes the same time; a lone image took 1.5 times as long on an H100.
"""


def providers(
    gpu: Gpu, options: CudaOptions, graph: Path, images: int, side: int
) -> list[Provider]:
    """List onnxruntime's providers for a graph; the first has to run all of it.

    TensorRT ignores the options, caches its engines beside the graph, and needs the shape of the
    largest batch.
    """
    cuda = {
        "device_id": str(gpu.device_id),
        "gpu_mem_limit": str(gpu.memory_limit or _NO_LIMIT),
        # Allocates what is needed, not up to twice as much.
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "0",  # float32 stays exact; float16 is for speed
        "prefer_nhwc": str(int(options.channels_last)),
        "enable_cuda_graph": str(int(options.recorded and not gpu.tensorrt)),
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


class Closeable(Protocol):
    """A candidate that holds memory of the GPU."""

    def close(self) -> None:
        """Free it."""


Loaded = TypeVar("Loaded", bound=Closeable)


def fastest(
    candidates: Iterable[CudaOptions],
    load: Callable[[CudaOptions], Loaded],
    run: Callable[[Loaded], object],
    clock: Callable[[], float] = perf_counter,
) -> tuple[CudaOptions, Loaded]:
    """Load a graph with each candidate's options, run it, and keep the fastest; close the others.

    Candidates that fail are logged and left out.

    Raises:
        VggServeError: The last failure, if all of them fail.
    """
    best: tuple[float, CudaOptions, Loaded] | None = None
    failure = VggServeError("There are no CUDA options to try.")
    for options in candidates:
        if best is not None and best[1].recorded and not options.recorded:
            continue
        with ExitStack() as losers:
            try:
                loaded = load(options)
                losers.callback(loaded.close)
                times = repeat(partial(run, loaded), timer=clock, number=1, repeat=_ROUNDS)
                seconds = min(times[_WARM_UP:])
            except VggServeError as exc:
                log.warning("%s: fails: %s", options, why_not(str(exc.__cause__ or exc)))
                failure = _without_frames(exc)
                continue
            log.info("%s: %.2f ms", options, 1000 * seconds)
            if best is None or seconds < best[0]:
                losers.pop_all()
                if best is not None:
                    losers.callback(best[2].close)
                best = (seconds, options, loaded)
    if best is None:
        raise failure
    return best[1:]


def _without_frames(exc: VggServeError) -> VggServeError:
    """Drop the tracebacks of an error: their frames hold a session and its memory on the GPU."""
    error: BaseException | None = exc
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__
    return exc
