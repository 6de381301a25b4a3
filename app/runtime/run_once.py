"""Run a graph on a CPU, apart from those that serve: nothing of it stays in memory."""

from pathlib import Path
from typing import Final

import onnxruntime as ort

from app.graph.serving_graph import INPUT
from app.machine import return_freed_memory
from app.records import PixelBatch, Tensor
from app.runtime.device_errors import run_error
from app.runtime.ort import CPU, OpenGraph

_FATAL_ONLY: Final = 4
_FOLDING: Final = {"ConstantFolding"}


def run_once(model: bytes, weights: Path, batch: PixelBatch, threads: int) -> dict[str, Tensor]:
    """Open a graph, run it on one batch and close it; return its outputs by name.

    Args:
        model: With the input INPUT.
        weights: The folder of the files that hold its tensors.
        batch: uint8 [N, crop, crop, 3], as many as the graph takes.
        threads: Of the run.

    Raises:
        RunFailedError: If it cannot be opened or run.
    """
    session = open_apart(model, weights, threads)
    try:
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(names, {INPUT: batch}), strict=True))
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        raise run_error(exc) from exc
    del session
    return_freed_memory()
    return found


def open_apart(model: bytes, weights: Path, threads: int) -> OpenGraph:
    """Open a graph on the CPU, apart from those that serve.

    It takes its memory from the system and not from the arena of the graphs that serve, which would
    keep it. No tensor is repacked, and none is computed from others before a run, so that those in
    the files beside it are only mapped: for the convolutions of VGG-16 that saves 59 MB, and opening
    takes 2 ms in place of 180.

    Raises:
        RunFailedError: If it cannot be opened.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    # One level below the usual: without the layout in blocks.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    for entry, value in (
        ("session.intra_op.allow_spinning", "0"),
        ("session.disable_prepacking", "1"),
        ("session.model_external_initializers_file_folder_path", str(weights)),
    ):
        options.add_session_config_entry(entry, value)
    try:
        return ort.InferenceSession(
            model, options, providers=CPU, enable_fallback=0, disabled_optimizers=_FOLDING
        )
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        raise run_error(exc) from exc
