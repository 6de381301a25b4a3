"""A VGG that takes a photo of any size, made from its serving graph and on the same weights.

The paper's dense evaluation (arXiv 1409.1556, section 3.2, after Sermanet et al., arXiv 1312.6229): fc6
is a convolution with a kernel as large as the maps after the last pooling of a crop, 7x7 at 224 pixels,
fc7 and fc8 are 1x1. On a larger photo each class so gets a map of scores, one for each position of the
crop in steps of 32 pixels; but what a convolution sees beyond the crop is the photo, not zeros.

A fully connected weight, [units, channels * side * side], and that of the convolution, [units,
channels, side, side], are the same bytes in the same order. So only the graph is new: its large tensors
refer to the weights file of the serving graph, with other dimensions.

All convolutions are direct. Kernels that the serving graph has in Winograd's domain only, whose layout
is for maps of one size, are made again when the graph runs, layer by layer; tensors in float16 are cast.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from onnx import TensorProto, helper

from app.graph.inner_maps import lowered_in, stored_layer, tensors_of
from app.graph.layers import add_convolutions, in_planes
from app.graph.node_list import NodeList
from app.graph.normalize import preprocess_nodes
from app.graph.serving_graph import INPUT, IR_VERSION, OPSET
from app.graph.vgg import LAST_LAYER, LayerRow, VggConfig
from app.graph.winograd import Convolution, transform_back
from app.records import Preprocess

SCORES: Final = "scores"
FIRST_DENSE: Final = "fc6"
STEP: Final = 32
"""Pixels from one position to the next: the paper's five poolings."""


def dense_graph(graph: Path, config: VggConfig, preprocess: Preprocess, block: int) -> bytes:
    """Build the graph: `image`, uint8 [N, H, W, 3], to `scores`, float32 [N, classes, rows, columns].

    Args:
        graph: The file of the serving graph; its weights, and its stem if it has one, are beside it.
        config: Its network.
        preprocess: As the serving graph has it.
        block: Channels per block in onnxruntime's layout here, for a graph with lowered layers.

    Returns:
        An ONNX model, for a session that looks for its tensors in the folder of `graph`; neither side
        of a photo may be shorter than the side of the network.

    Raises:
        NoMapsError: If the weights are in no known form.
        CheckpointError: If the graph is damaged.
    """
    tensors = tensors_of(graph)
    lowered = lowered_in(config, tensors, block)
    nodes = NodeList()
    nodes.nodes, nodes.constants = preprocess_nodes(preprocess, INPUT, "pixels")
    kept: list[TensorProto] = []
    value = "pixels"
    for row in config.layers():
        if row.name in lowered:
            kept += _from_domain(nodes, lowered[row.name], tensors)
        elif row.weight_shape:
            kept += _plain(nodes, row, config, tensors)
        if row.kind == "fully connected":
            value = _add_dense(nodes, row, config, value)
        else:
            value = in_planes(nodes, add_convolutions(nodes, [row], {}, value))
    made = helper.make_graph(
        nodes.nodes,
        "dense",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["N", config.classes, "y", "x"])],
        initializer=[*nodes.constants, *kept],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    return model.SerializeToString()


def _from_domain(
    nodes: NodeList, convolution: Convolution, tensors: Mapping[str, TensorProto]
) -> Iterator[TensorProto]:
    """Yield the tensors of a lowered convolution, and add nodes that make plain ones of them."""
    name = convolution.name
    kernels, bias = f"{name}_winograd", f"{name}_bias"
    yield tensors[kernels]
    renamed = TensorProto()
    renamed.CopyFrom(tensors[bias])
    renamed.name = f"{bias}_winograd"
    yield renamed
    transform_back(nodes, convolution, kernels, renamed.name)


def _plain(
    nodes: NodeList, row: LayerRow, config: VggConfig, tensors: Mapping[str, TensorProto]
) -> Iterator[TensorProto]:
    """Yield the tensors of any other layer; those of a fully connected one are declared as kernels."""
    weight, bias = stored_layer(nodes, row, tensors)
    if row.kind == "fully connected":
        units, inputs = row.weight_shape
        side = _kernel(row, config)
        weight.dims[:] = units, inputs // side**2, side, side
    yield weight
    yield bias


def _add_dense(nodes: NodeList, row: LayerRow, config: VggConfig, value: str) -> str:
    """Add a fully connected layer at each position, with its ReLU unless it is the last."""
    last = row.name == LAST_LAYER
    tensors = f"{row.name}_weight", f"{row.name}_bias"
    sides = [_kernel(row, config)] * 2
    result = SCORES if last else row.name
    value = nodes.add("Conv", value, *tensors, result=result, kernel_shape=sides)
    return value if last else nodes.add("Relu", value, result=f"{row.name}_relu")


def _kernel(row: LayerRow, config: VggConfig) -> int:
    """Return the side of the maps that a fully connected layer reads."""
    return config.side // STEP if row.name == FIRST_DENSE else 1
