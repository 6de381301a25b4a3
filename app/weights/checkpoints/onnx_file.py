"""Read the weights out of an ONNX model, whichever names its exporter gave them.

Only the weights are taken from the file, so that what it computes between them has to be exactly
what the paper says: anything else is refused by its name.
"""

from collections import defaultdict, deque
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from app.graph.data_files import is_elsewhere, locate
from app.graph.vgg import LayerRow, VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Norm, Stored, read_layers, shown

_PASSING: Final = frozenset({"Identity", "Dropout"})
_LAST: Final = frozenset({"Softmax", "LogSoftmax"})
_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_OPERATORS: Final = {
    "convolution": ("Conv",),
    "max-pooling": ("MaxPool",),
    # It equals a convolution as large as the map (timm writes it so).
    "fully connected": ("Gemm", "MatMul", "Conv"),
}

_HEAD: Final = ("fc6", "fc7", "fc8")
_NORM: Final = ("weight", "bias", "running_mean", "running_var")
"""The inputs of BatchNormalization behind its first, by PyTorch's names."""


def read_onnx(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` by walking the graph from its input to its output."""
    graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
    constants = _constants(graph)
    tensors, norms = _find_tensors(graph, constants, config)
    stored = {
        tensor: _stored(path, constants[name], turned=turned)
        for tensor, (name, turned) in tensors.items()
        if name in constants
    }
    return read_layers(config, {layer: layer for layer in config.weight_shapes()}, stored, norms)


def list_onnx(path: Path) -> dict[str, Stored]:
    """List the weights along the path of the data, with names that say their order.

    What the graph computes between them is not looked at.
    """
    graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
    constants = _constants(graph)
    weights = [
        _stored(path, constants[node.input[1]], turned=not (_turns(node) or node.op_type == "Conv"))
        for _, node in _data_path(graph, constants)
        if node.op_type in {"Conv", "Gemm", "MatMul"} and node.input[1] in constants
    ]
    convolutions = len(weights) - len(_HEAD)
    names = [f"features.{i}.weight" for i in range(convolutions)]
    names += [f"classifier.{i}.weight" for i in range(len(_HEAD))]
    return dict(zip(names, weights, strict=False))


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
        values = []
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
        elif node.op_type == "Identity":  # PyTorch writes equal tensors once
            values = [constants[name] for name in node.input if name in constants]
        constants.update(zip(node.output, values, strict=False))
    return constants


def _stored(path: Path, tensor: TensorProto, *, turned: bool) -> Stored:
    part = locate(path, tensor) if is_elsewhere(tensor) else None

    def read() -> NDArray[np.generic]:
        whole = tensor
        if part is not None:
            with part.file.open("rb") as file:
                file.seek(part.offset)
                data = file.read(part.length)
            whole = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data)
        values = numpy_helper.to_array(whole)
        return values.T if turned else values

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
    return Stored(tuple(tensor.dims)[:: -1 if turned else 1], dtype, read)


def _find_tensors(
    graph: GraphProto, constants: Container[str], config: VggConfig
) -> tuple[dict[str, tuple[str, bool]], dict[str, Norm]]:
    """Walk a graph that has to be `config`, from its one input along its one path.

    Returns:
        For `fc6.weight` the name of the constant, and whether that is [in, out]. For a layer with
        batch norm behind it, that.
    """
    found: dict[str, tuple[str, bool]] = {}
    norms: dict[str, Norm] = {}
    plan = deque(_plan(config))
    last_pool = [row for row in config.layers() if row.kind == "max-pooling"][-1]
    side = last_pool.output_shape[-1]  # of the map in front of the next fully connected layer
    before = ""  # the layer in front, to which an Add or batch norm belongs
    for value, node in _data_path(graph, constants):
        op = node.op_type
        in_head = not plan or plan[0][1].kind == "fully connected"
        biasless = before and not found[f"{before}.bias"][0]
        if op == "Add" and biasless and before in _HEAD:
            found[f"{before}.bias"] = next((n for n in node.input if n != value), ""), False
        elif op == "BatchNormalization" and before and before not in _HEAD:
            norms[before], tensors = _norm(node, before)
            found |= tensors
            before = ""
        elif _passes(node, is_last=not plan) or (in_head and _keeps_values(node, side)):
            continue
        elif biasless:
            raise CheckpointError(f"has no bias in {before}")
        elif not plan or op not in plan[0][0]:
            expected = f"{plan[0][0][0]} ({plan[0][1].name})" if plan else "the end"
            raise CheckpointError(f"has the operator {shown(op)} where {expected} is expected")
        else:
            _, row = plan.popleft()
            before = ""
            if op == "MaxPool":
                _check_window(node, row.name, kernel=2, stride=2, pad=0)
            elif op != "Relu":
                weight, bias = [*node.input, "", ""][1:3]
                found[f"{row.name}.weight"] = weight, _is_transposed(node, row, side)
                found[f"{row.name}.bias"] = bias, False
                before = row.name
                side = 1 if row.kind == "fully connected" else side
    if plan:
        raise CheckpointError(f"ends where {plan[0][0][0]} ({plan[0][1].name}) is expected")
    return found, norms


def _norm(node: NodeProto, layer: str) -> tuple[Norm, dict[str, tuple[str, bool]]]:
    """Return the batch norm behind a layer, and its tensors as `_find_tensors` does."""
    given, names = _attributes(node), node.input[1:]
    if given.get("training_mode", 0) or not given.get("spatial", 1) or len(names) != len(_NORM):
        raise CheckpointError(f"has batch norm behind {layer}, not as after a training")
    norm = Norm(f"{layer}_norm", given.get("epsilon", 1e-5))
    parts = zip(_NORM, names, strict=True)
    return norm, {f"{norm.name}.{part}": (name, False) for part, name in parts}


def _plan(config: VggConfig) -> Iterator[tuple[tuple[str, ...], LayerRow]]:
    *rows, last = config.layers()
    for row in rows:
        yield _OPERATORS[row.kind], row
        if row.kind != "max-pooling":
            yield ("Relu",), row
    yield _OPERATORS[last.kind], last


def _data_path(graph: GraphProto, constants: Container[str]) -> Iterator[tuple[str, NodeProto]]:
    """Follow the data from the input: yield each node, with the name of the value it takes."""
    # old graphs list constants as inputs too
    inputs = [value.name for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise CheckpointError(f"has {len(inputs)} inputs, expected one, the image")
    takers = defaultdict(list)
    for node in graph.node:
        if node.op_type != "Shape":  # PyTorch asks for the batch size
            for name in {*node.input}:
                takers[name].append(node)
    value, seen = inputs[0], set[str]()
    while value and takers[value]:
        node = takers[value][0]
        if len(takers[value]) > 1 or value in seen or not node.output:
            raise CheckpointError(f"branches after {shown(value)}, expected one path")
        if node.domain not in {"", "ai.onnx"}:
            raise CheckpointError(f"has the operator {shown(node.domain)}.{shown(node.op_type)}")
        if value != node.input[0] and node.op_type != "Add":
            raise CheckpointError(f"uses {shown(value)} as a parameter of {shown(node.op_type)}")
        seen.add(value)
        yield value, node
        value = node.output[0]
    if value not in {output.name for output in graph.output}:
        raise CheckpointError(f"ends at {shown(value)}, which is not its output")


def _passes(node: NodeProto, *, is_last: bool) -> bool:
    """Return whether the layers around a node do not notice it; softmax of its logarithm is softmax."""
    given = _attributes(node)
    if node.op_type == "Cast":
        return given.get("to") in _FLOATS
    is_softmax = is_last and node.op_type in _LAST and given.get("axis", 1) in {1, -1}
    return is_softmax or node.op_type in _PASSING


def _keeps_values(node: NodeProto, side: int) -> bool:
    """Return whether a node of the head passes on the same values in the same order."""
    if node.op_type == "GlobalAveragePool":
        return side == 1
    if node.op_type == "AveragePool":
        _check_window(node, "AveragePool", kernel=1, stride=1, pad=0)
        return True
    if node.op_type == "Flatten":
        return bool(_attributes(node).get("axis", 1) == 1)
    return node.op_type == "Reshape"


def _is_transposed(node: NodeProto, row: LayerRow, side: int) -> bool:
    """Return whether the weight of a layer is [in, out]; refuse a node that is not that layer."""
    given = _attributes(node)
    if node.op_type == "Conv":
        _check_window(node, row.name, kernel=row.kernel or side, stride=1, pad=row.kernel // 2)
        if given.get("group", 1) != 1:
            raise CheckpointError(f"has {row.name} in groups, expected one")
        if row.name in _HEAD and not any(
            node.input[2:]
        ):  # an Add would go along the width of the map
            raise CheckpointError(f"has no bias in {row.name}")
        return False
    scaled = {given.get("alpha", 1.0), given.get("beta", 1.0)} != {1.0}
    if scaled or given.get("transA", 0):
        raise CheckpointError(f"scales or transposes in {row.name}, expected a plain Gemm")
    return not _turns(node)


def _turns(node: NodeProto) -> bool:
    """Return whether a product turns its weight around, which then is [out, in]; MatMul never does."""
    return bool(_attributes(node).get("transB", 0))


def _check_window(node: NodeProto, layer: str, *, kernel: int, stride: int, pad: int) -> None:
    """Refuse a convolution or pooling with another window."""
    square = [kernel] * 2
    wanted = {"kernel_shape": square, "strides": [stride] * 2, "pads": [pad] * 4}
    given = {"kernel_shape": square, "strides": [1] * 2, "pads": [0] * 4, "dilations": [1] * 2}
    given |= _attributes(node)
    for attribute, expected in (wanted | {"dilations": [1] * 2}).items():
        if given[attribute] != expected:
            found = shown(given[attribute])
            raise CheckpointError(f"has {layer} with {attribute} {found}, expected {expected}")
    if (auto_pad := given.get("auto_pad", b"")) not in (b"", b"NOTSET"):
        raise CheckpointError(f"has {layer} with auto_pad {shown(auto_pad)}, expected pads")


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
