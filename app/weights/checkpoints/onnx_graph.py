"""Walk an ONNX graph from its input to its output and find the layers of a VGG in it.

Only the weights are taken from the file, so that what it computes between them has to be exactly
what the paper says: anything else is refused by its name.
"""

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from onnx import GraphProto, NodeProto

from app.errors import CheckpointError
from app.graph.vgg import LayerRow, VggConfig
from app.weights.checkpoints.layout import shown
from app.weights.checkpoints.onnx_path import check_window, data_path, int_attribute

_PASSING: Final = frozenset({"Identity", "Dropout"})


@dataclass(slots=True)
class Found:
    """One layer in the graph.

    Attributes:
        row: The layer.
        weight: Name of its weight.
        bias: Name of its bias; empty until it is found.
        transposed: Whether a fully connected weight is [in, out].
    """

    row: LayerRow
    weight: str
    bias: str
    transposed: bool


def find_layers(graph: GraphProto, constants: Container[str], config: VggConfig) -> list[Found]:
    """Find the layers of `config`, in order of data flow.

    Args:
        graph: One input, one path to its output.
        constants: Names of constants, which old graphs list as inputs too.
        config: The network that the graph has to be.

    Raises:
        CheckpointError: With the operator that is not the one of this network.
    """
    found: list[Found] = []
    plan = deque(_plan(config))
    last_pool = [row for row in config.layers() if row.kind == "max-pooling"][-1]
    side = last_pool.output_shape[-1]  # of the map in front of the next fully connected layer
    for value, node in data_path(graph, constants):
        op = node.op_type
        in_head = not plan or plan[0][1].kind == "fully connected"
        if op == "Add" and found and not found[-1].bias:
            found[-1].bias = next((name for name in node.input if name != value), "")
        elif found and not found[-1].bias:
            raise CheckpointError(f"has no bias in {found[-1].row.name}")
        elif (
            op in _PASSING
            or (op == "Softmax" and not plan)
            or (in_head and _keeps_values(node, side))
        ):
            continue
        elif not plan or not _is_step(op, plan[0][0]):
            expected = f"{plan[0][0]} ({plan[0][1].name})" if plan else "the end"
            raise CheckpointError(f"has the operator {shown(op)} where {expected} is expected")
        else:
            step, row = plan.popleft()
            if step == "MaxPool":
                check_window(node, row.name, kernel=2, stride=2, pad=0)
            elif step != "Relu":
                found.append(_layer(node, row, side))
                side = 1 if row.kind == "fully connected" else side
    if plan:
        raise CheckpointError(f"ends where {plan[0][0]} ({plan[0][1].name}) is expected")
    return found


def _plan(config: VggConfig) -> Iterator[tuple[str, LayerRow]]:
    *rows, last = config.layers()
    for row in rows:
        if row.kind == "max-pooling":
            yield "MaxPool", row
        else:
            yield "Conv" if row.kind == "convolution" else "Gemm", row
            yield "Relu", row
    yield "Gemm", last


def _is_step(op: str, step: str) -> bool:
    # A fully connected layer equals a convolution as large as the map (timm writes it so).
    return op == step or (step == "Gemm" and op in {"MatMul", "Conv"})


def _keeps_values(node: NodeProto, side: int) -> bool:
    """Return whether a node of the head passes on the same values in the same order."""
    if node.op_type == "GlobalAveragePool":
        return side == 1
    if node.op_type == "AveragePool":
        check_window(node, "AveragePool", kernel=1, stride=1, pad=0)
        return True
    if node.op_type == "Flatten":
        return int_attribute(node, "axis", 1) == 1
    return node.op_type == "Reshape"


def _layer(node: NodeProto, row: LayerRow, side: int) -> Found:
    names = [*node.input, "", ""][1:3]
    transposed = False
    if node.op_type == "Conv":
        check_window(node, row.name, kernel=row.kernel or side, stride=1, pad=row.kernel // 2)
        if not names[1]:  # an Add of [out] would go along the width of the map
            raise CheckpointError(f"has no bias in {row.name}")
        if int_attribute(node, "group", 1) != 1:
            raise CheckpointError(f"has {row.name} in groups, expected one")
    elif node.op_type == "Gemm":
        factors = {a.name: a.f for a in node.attribute if a.name in {"alpha", "beta"}}
        if set(factors.values()) - {1.0} or int_attribute(node, "transA", 0):
            raise CheckpointError(f"scales or transposes in {row.name}, expected a plain Gemm")
        transposed = not int_attribute(node, "transB", 0)
    else:
        names[1], transposed = "", True  # MatMul: its bias is in the Add that follows
    return Found(row, names[0], names[1], transposed)
