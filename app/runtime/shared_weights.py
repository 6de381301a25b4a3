"""Weights that two graphs have in common, mapped into memory once.

onnxruntime maps the weights of each session by itself. The same pages of the file are in memory only once,
but they count twice as what the process occupies (RSS), which some systems limit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from app.graph.serving_graph import WEIGHTS_FILE
from app.setup_errors import SessionError

Weights: TypeAlias = Mapping[str, ort.OrtValue]
"""By the names of tensors; a session that got them must not outlive them."""


def shared_weights(one: Path, other: Path) -> Weights:
    """Map the tensors that two graphs of a folder name, from its WEIGHTS_FILE; none if one is missing.

    Raises:
        SessionError: If the file is too short for them.
    """
    if not (one.exists() and other.exists()):
        return {}
    first, second = (_elsewhere(graph) for graph in (one, other))
    common = {name: tensor for name, tensor in first.items() if name in second}
    if not common:
        return {}
    content = np.memmap(one.with_name(WEIGHTS_FILE), np.uint8, "r")
    try:
        return {name: _mapped(tensor, content) for name, tensor in common.items()}
    except ValueError as exc:
        raise SessionError(f"{one} cannot be loaded: its weights are cut off") from exc


def _elsewhere(graph: Path) -> dict[str, TensorProto]:
    """List the tensors that are in another file."""
    tensors = onnx.load_model(graph, load_external_data=False).graph.initializer
    return {one.name: one for one in tensors if one.data_location == TensorProto.EXTERNAL}


def _mapped(
    tensor: TensorProto, content: np.memmap[tuple[int], np.dtype[np.uint8]]
) -> ort.OrtValue:
    place = {entry.key: entry.value for entry in tensor.external_data}
    start = int(place["offset"])
    part = content[start : start + int(place["length"])]
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return ort.OrtValue.ortvalue_from_numpy(part.view(kind).reshape(tuple(tensor.dims)))
