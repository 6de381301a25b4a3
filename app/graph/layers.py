"""The layers of a VGG as nodes; convolutions that the plan lowers are computed in Winograd's domain.

The data of a convolution in that domain is more than twice as large as its maps, and onnxruntime
writes and reads it several times, which is fast only in the processor's cache. So *large maps* are
computed image by image, in the *stem*, a separate graph that takes one image. *Small maps* are
computed for a whole batch, so that the large matrices of their layers are read once.

The fully connected layers hold most of the weights, and all of them are read for every batch.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from onnx import GraphProto, TensorProto, helper

from app.graph.channel_blocks import ChannelBlocks
from app.graph.conv_plan import ConvPlan
from app.graph.node_list import NodeList
from app.graph.vgg import LayerRow, VggConfig
from app.graph.winograd import Convolution, convolve

Maps: TypeAlias = str | ChannelBlocks
"""The name of a float32 [N, channels, side, side], or the same in blocks."""


def lowered_layers(config: VggConfig, plan: ConvPlan) -> dict[str, Convolution]:
    """Describe the layers that a plan lowers, by name."""
    return {
        layer.name: Convolution(
            layer.name,
            inputs=layer.weight_shape[1],
            outputs=layer.weight_shape[0],
            side=layer.output_shape[-1],
            pooled=following.kind == "max-pooling",
            block=plan.block,
        )
        for layer, following in pairwise(config.layers())
        if plan.lowers(layer)
    }


def add_convolutions(
    nodes: NodeList, layers: Sequence[LayerRow], lowered: Mapping[str, Convolution], maps: Maps
) -> Maps:
    """Add convolutions, each with its ReLU, and pooling; `lowered` is from `lowered_layers`."""
    for layer in layers:
        if layer.name in lowered:
            one = lowered[layer.name]
            blocks = in_blocks(nodes, maps, (one.inputs, one.side), one.block)
            maps = convolve(nodes, one, blocks)
        elif layer.kind == "convolution":
            sums = nodes.add(
                "Conv",
                in_planes(nodes, maps),
                f"{layer.name}_weight",
                f"{layer.name}_bias",
                result=layer.name,
                kernel_shape=[layer.kernel] * 2,
                pads=[layer.kernel // 2] * 4,
            )
            maps = nodes.add("Relu", sums, result=f"{layer.name}_relu")
        elif isinstance(maps, str):  # a lowered convolution includes the pooling after it
            sides = [2, 2]
            maps = nodes.add("MaxPool", maps, result=layer.name, kernel_shape=sides, strides=sides)
    return maps


def in_blocks(nodes: NodeList, maps: Maps, shape: tuple[int, int], block: int) -> ChannelBlocks:
    """Return maps in blocks; `shape` is their channels and their side."""
    if isinstance(maps, ChannelBlocks):
        return maps
    return ChannelBlocks.of_maps(nodes, maps, *shape, block)


def in_planes(nodes: NodeList, maps: Maps) -> str:
    """Return maps as float32 [N, channels, side, side]."""
    return maps.to_maps(nodes) if isinstance(maps, ChannelBlocks) else maps


def add_dense(nodes: NodeList, layers: Sequence[LayerRow], value: str, prefix: str = "") -> str:
    """Add fully connected layers, with a ReLU after all but the last, by the names of the paper.

    From float32 [N, inputs of the first] to float32 [N, outputs of the last].
    """
    for layer in layers:
        tensors = f"{layer.name}_weight", f"{layer.name}_bias"
        value = nodes.add("Gemm", value, *tensors, result=f"{prefix}{layer.name}", transB=1)
        if layer is not layers[-1]:
            value = nodes.add("Relu", value, result=f"{prefix}{layer.name}_relu")
    return value


def add_dense_for_cpu(nodes: NodeList, layers: Sequence[LayerRow], value: str) -> str:
    """Add the same layers twice, for a single image and for several; the names are the same.

    onnxruntime repacks the right matrix of every product, unless the left one is a single row. With
    several images the weights have to be on the left (docs/performance.md).
    """
    nodes.scope = "dense"
    images = nodes.add("Shape", value, end=1)
    single = nodes.add("Equal", images, nodes.integers(1))
    one, several = NodeList(), NodeList()
    add_dense(one, layers, value, "single/")
    _add_weights_first(several, layers, value, "several/")
    names = [layers[-1].name, *(f"{layer.name}_relu" for layer in layers[:-1])]
    return nodes.add(
        "If",
        single,
        result=names[0],
        others=names[1:],
        then_branch=branch(one, [f"single/{name}" for name in names]),
        else_branch=branch(several, [f"several/{name}" for name in names]),
    )


def _add_weights_first(
    nodes: NodeList, layers: Sequence[LayerRow], value: str, prefix: str
) -> None:
    for layer in layers:
        nodes.scope = f"{prefix}{layer.name}"
        columns = nodes.add("Transpose", value, perm=[1, 0])
        columns = nodes.add("MatMul", f"{layer.name}_weight", columns)
        value = nodes.add("Transpose", columns, perm=[1, 0])
        last = layer is layers[-1]
        value = nodes.add("Add", value, f"{layer.name}_bias", result=nodes.scope if last else None)
        if not last:
            value = nodes.add("Relu", value, result=f"{nodes.scope}_relu")


def branch(nodes: NodeList, results: Sequence[str]) -> GraphProto:
    """Make a graph of the nodes, which read their inputs from the graph around it."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    return helper.make_graph(nodes.nodes, results[0], [], infos)
