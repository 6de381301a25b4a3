"""The fully connected layers of a VGG: most of its weights, all of them read for every batch."""

from collections.abc import Sequence

from onnx import GraphProto, TensorProto, helper

from app.graph.node_list import NodeList
from app.graph.vgg import LayerRow


def add_dense(nodes: NodeList, layers: Sequence[LayerRow], value: str) -> str:
    """Add the layers, with a ReLU after all but the last, by the names of the paper.

    Args:
        nodes: The graph to extend.
        layers: Fully connected layers, in order.
        value: float32 [N, inputs of the first].

    Returns:
        float32 [N, outputs of the last].
    """
    for layer in layers:
        tensors = f"{layer.name}_weight", f"{layer.name}_bias"
        value = nodes.add("Gemm", value, *tensors, result=layer.name, transB=1)
        if layer is not layers[-1]:
            value = nodes.add("Relu", value, result=f"{layer.name}_relu")
    return value


def add_dense_for_cpu(nodes: NodeList, layers: Sequence[LayerRow], value: str) -> str:
    """Add the same layers twice, for a single image and for several.

    onnxruntime repacks the right matrix of every product, unless the left one is a single row. With
    several images the weights have to be on the left (docs/performance.md).
    """
    nodes.scope = "dense"
    images = nodes.add("Shape", value, end=1)
    single = nodes.add("Equal", images, nodes.integers(1))
    one, several = NodeList(), NodeList()
    return nodes.add(
        "If",
        single,
        then_branch=_branch(one, add_dense(one, layers, value)),
        else_branch=_branch(several, _add_weights_first(several, layers, value)),
    )


def _add_weights_first(nodes: NodeList, layers: Sequence[LayerRow], value: str) -> str:
    for layer in layers:
        nodes.scope = f"several/{layer.name}"
        columns = nodes.add("Transpose", value, perm=[1, 0])
        columns = nodes.add("MatMul", f"{layer.name}_weight", columns)
        value = nodes.add("Transpose", columns, perm=[1, 0])
        value = nodes.add("Add", value, f"{layer.name}_bias")
        if layer is not layers[-1]:
            value = nodes.add("Relu", value)
    return value


def _branch(nodes: NodeList, result: str) -> GraphProto:
    """Make a graph of the nodes, which read their inputs from the graph around it."""
    info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
    return helper.make_graph(nodes.nodes, result, [], [info])
