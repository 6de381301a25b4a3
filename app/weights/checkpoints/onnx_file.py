"""Read the weights out of an ONNX model, whichever names its exporter gave them."""

from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, TensorProto, numpy_helper

from app.errors import CheckpointError
from app.graph.vgg import VggConfig
from app.records import Layer, Tensor
from app.weights.checkpoints.layout import Shape, as_tensor, check_shape, expected_layers, shown
from app.weights.checkpoints.onnx_graph import find_layers

_DTYPES: Final = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)
_FOREIGN: Final = (DecodeError, OSError, ValueError, TypeError, KeyError, MemoryError)


def read_onnx(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` by walking the graph from its input to its output.

    Raises:
        CheckpointError: If the file is damaged, computes anything else than this
            network, or keeps its weights in other files.
    """
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
        stored = _stored(model.graph)
        expected = expected_layers(config)
        layers = {}
        for found in find_layers(model.graph, stored, config):
            layer, shapes = found.row.name, expected[found.row.name]
            weight, bias = stored.get(found.weight), stored.get(found.bias)
            layers[layer] = Layer(
                weight=_tensor(f"{layer}.weight", weight, shapes.weight, turn=found.transposed),
                bias=_tensor(f"{layer}.bias", bias, shapes.bias),
            )
    except _FOREIGN as exc:
        raise CheckpointError(f"cannot be read as ONNX: {shown(exc)}") from exc
    return layers


def _stored(graph: GraphProto) -> dict[str, TensorProto]:
    """Map the name of each constant of the graph to its tensor."""
    stored: dict[str, TensorProto] = {}
    for tensor in graph.initializer:
        if tensor.name in stored:
            raise CheckpointError(f"has the tensor {shown(tensor.name)} twice")
        stored[tensor.name] = tensor
    used = {name for node in graph.node for name in node.input}
    if unused := sorted(stored.keys() - used):
        raise CheckpointError(
            f"has a tensor {shown(unused[0])}, for which this network has no place"
        )
    for node in graph.node:
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
        elif node.op_type == "Identity":  # PyTorch writes equal tensors once
            values = [stored[name] for name in node.input if name in stored]
        else:
            values = []
        stored.update(zip(node.output, values, strict=False))
    return stored


def _tensor(
    name: str, stored: TensorProto | None, accepted: tuple[Shape, ...], *, turn: bool = False
) -> Tensor:
    if stored is None:
        raise CheckpointError(f"has no {name} among its stored tensors")
    if stored.data_location == TensorProto.EXTERNAL or stored.external_data:
        raise CheckpointError(f"keeps {name} in another file, expected it to be inside")
    shape = accepted[0]
    check_shape(name, stored.dims, ((shape[1], shape[0]),) if turn else accepted)
    if stored.data_type not in _DTYPES:
        raise CheckpointError(
            f"has {name} with ONNX data type {stored.data_type}, expected floating point"
            " of 16, 32 or 64 bits"
        )
    values = numpy_helper.to_array(stored)
    return as_tensor(name, values.T if turn else values, shape)
