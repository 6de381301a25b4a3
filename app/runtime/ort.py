"""How onnxruntime is set up here: it loads graphs, and says what it can do on this machine."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import parser

from app.graph.channel_blocks import BLOCKED
from app.graph.serving_graph import INPUT, IR_VERSION
from app.machine import return_freed_memory
from app.records import PixelBatch
from app.setup_errors import SessionError

Provider: TypeAlias = tuple[str, dict[str, str]]
"""Name and options of one of onnxruntime's execution providers."""
OpenGraph: TypeAlias = ort.InferenceSession

VERSION: Final[str] = ort.__version__
CPU: Final[list[Provider]] = [("CPUExecutionProvider", {})]
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

_FATAL_ONLY: Final = 4
_SLOW_ON_CUDA: Final = {"ConvAddFusion"}
"""It would make a bias part of its convolution again: see app/graph/float16_layers.py."""
_SAME_AS_REQUESTED: Final = 1


def open_graph(
    graph: Path | bytes,
    where: list[Provider],
    threads: int,
    weights: Mapping[str, ort.OrtValue] | None = None,
    *,
    repacked: bool = False,
) -> OpenGraph:
    """Load a graph.

    Args:
        graph: The .onnx file, or its bytes.
        where: Providers; the first has to run every node.
        threads: Threads per run, on a CPU.
        weights: Tensors of the graph that are in memory already, which it then uses.
        repacked: Whether weights are copied into the layout of the kernels when they are loaded, on a CPU.

    Raises:
        SessionError: If it cannot be loaded there; its cause is onnxruntime's own error.
    """
    ort.disable_telemetry_events()  # Windows has a log of them, and knows no ORT_DISABLE_TELEMETRY
    # cuDNN's complaints about ways that it cannot go are no news: onnxruntime takes another.
    ort.set_default_logger_severity(_FATAL_ONLY)
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would keep the decoders off the processors, and gain less than 2 %.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Shares of a layer get smaller and smaller: the others wait less for a thread that lost its
    # processor to a decoder (a batch of 8 beside 8 decodes loses 1.4 %, not 4.5 %).
    options.add_session_config_entry("session.dynamic_block_base", "4")
    # onnxruntime keeps a memory pattern for each batch size, and with it the memory of all sizes.
    options.enable_mem_pattern = False
    for tensor, value in (weights or {}).items():
        options.add_initializer(tensor, value)
    name = where[0][0]
    disabled = set() if where is CPU else _SLOW_ON_CUDA
    if where is CPU:
        # Repacked float32 weights are 3 % faster and double the memory of the weights.
        options.add_session_config_entry("session.disable_prepacking", "0" if repacked else "1")
        _share_exact_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    else:
        # Without this, what CUDA cannot do would silently run on the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(
            graph, options, providers=where, enable_fallback=0, disabled_optimizers=disabled
        )
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        what = graph if isinstance(graph, Path) else f"A graph of {len(graph)} bytes"
        raise SessionError(f"{what} cannot be loaded: {exc}") from exc
    if session.get_providers()[0] != name:
        raise SessionError(f"the libraries of {name} or the driver could not be loaded")
    return_freed_memory()  # 61 MB of a VGG-16
    return session


def open_probe(graph: Path, threads: int) -> Callable[[PixelBatch], dict[str, NDArray[np.float32]]]:
    """Load a graph on the CPU; the function that is returned runs a batch and gives all outputs by name.

    Raises:
        SessionError: If it cannot be loaded.
    """
    session = open_graph(graph, CPU, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, {INPUT: batch}), strict=True))


@cache
def channel_block() -> int:
    """Return how many channels are side by side in onnxruntime's layout on this processor.

    Returns:
        8 or 16, as many as fit into a register; 0 where it has no layout in blocks.
    """
    maps = np.arange(32, dtype=np.float32).reshape(1, 16, 1, 2)
    model = parser.parse_model(f"""<ir_version: {IR_VERSION}, opset_import: ["{BLOCKED}": 1]>
        probe (float[1,16,1,2] maps) => (float[1,16,1,2] blocks)
        {{ blocks = {BLOCKED}.ReorderInput(maps) }}""")
    try:
        session = open_graph(model.SerializeToString(), CPU, threads=1)
        blocks = session.run(None, {"maps": maps})[0]
        # The first pixel of the first channel is 0, its second is 1: after a block of first pixels.
        block = int(np.flatnonzero(blocks.ravel() == 1)[0])
    except Exception:  # noqa: BLE001 - onnxruntime's errors share no base class of their own
        return 0
    return block if block > 1 else 0


def has_cuda() -> bool:
    """Return whether this is the onnxruntime for CUDA, and load the libraries that it needs."""
    if CUDA not in ort.get_available_providers():
        return False
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # the CUDA libraries that are Python packages
    return True


@cache
def _share_exact_arena() -> None:
    """Let onnxruntime's CPU memory grow by what is needed, not by powers of two.

    Its default keeps up to twice the memory of the largest run. The arena belongs to onnxruntime's
    process-wide environment, so this is done once per process.
    """
    ort.create_and_register_allocator(
        ort.OrtMemoryInfo(
            "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
        ),
        ort.OrtArenaCfg({"arena_extend_strategy": _SAME_AS_REQUESTED}),
    )
