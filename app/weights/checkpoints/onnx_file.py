"""Read the weights out of an ONNX model, whichever names its exporter gave them."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper, numpy_helper

from app.errors import CheckpointError
from app.graph.vgg import VggConfig
from app.records import Layer
from app.weights.checkpoints.layout import Stored, read_layers, shown
from app.weights.checkpoints.names import paper_names
from app.weights.checkpoints.onnx_graph import find_layers


def read_onnx(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` by walking the graph from its input to its output.

    Raises:
        CheckpointError: If the file computes anything else than this network, or keeps its
            weights in other files.
    """
    graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
    constants = _constants(graph)
    stored = {}
    for found in find_layers(graph, constants, config):
        for part, name in (("weight", found.weight), ("bias", found.bias)):
            if name in constants:
                turned = part == "weight" and found.transposed
                tensor = f"{found.row.name}.{part}"
                stored[tensor] = _stored(tensor, constants[name], turned=turned)
    return read_layers(config, paper_names(config), stored)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Map the name of each constant of the graph to its tensor."""
    constants: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise CheckpointError(f"has the tensor {shown(tensor.name)} twice")
        constants[tensor.name] = tensor
    used = {name for node in graph.node for name in node.input}
    if unused := sorted(constants.keys() - used):
        raise CheckpointError(
            f"has a tensor {shown(unused[0])}, for which this network has no place"
        )
    for node in graph.node:
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
        elif node.op_type == "Identity":  # PyTorch writes equal tensors once
            values = [constants[name] for name in node.input if name in constants]
        else:
            values = []
        constants.update(zip(node.output, values, strict=False))
    return constants


def _stored(name: str, tensor: TensorProto, *, turned: bool) -> Stored:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise CheckpointError(f"keeps {name} in another file, expected it to be inside")

    def read() -> NDArray[np.generic]:
        values = numpy_helper.to_array(tensor)
        return values.T if turned else values

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
    return Stored(tuple(tensor.dims)[:: -1 if turned else 1], dtype, read)
