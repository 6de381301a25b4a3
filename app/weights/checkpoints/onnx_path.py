"""Follow the one path of the data through an ONNX graph, and read its nodes."""

from collections import defaultdict
from collections.abc import Container, Iterator

from onnx import GraphProto, NodeProto

from app.errors import CheckpointError
from app.weights.checkpoints.layout import shown


def data_path(graph: GraphProto, constants: Container[str]) -> Iterator[tuple[str, NodeProto]]:
    """Follow the data from the input: yield each node, with the name of the value it takes."""
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


def check_window(node: NodeProto, name: str, *, kernel: int, stride: int, pad: int) -> None:
    """Refuse a convolution or pooling with another window; `name` is its layer, for the sentence."""
    given = {a.name: list(a.ints) for a in node.attribute}
    for attribute, expected in (
        ("kernel_shape", [kernel] * 2),
        ("strides", [stride] * 2),
        ("pads", [pad] * 4),
        ("dilations", [1] * 2),
    ):
        default = {"kernel_shape": expected, "pads": [0] * 4}.get(attribute, [1] * 2)
        if (found := given.get(attribute, default)) != expected:
            raise CheckpointError(f"has {name} with {attribute} {found}, expected {expected}")
    for a in node.attribute:
        if a.name == "auto_pad" and a.s not in {b"", b"NOTSET"}:
            raise CheckpointError(f"has {name} with auto_pad {shown(a.s)}, expected pads")


def int_attribute(node: NodeProto, name: str, default: int) -> int:
    """Return the whole number that `node` has as its attribute `name`."""
    return next((a.i for a in node.attribute if a.name == name), default)
