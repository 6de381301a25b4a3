"""The convolutions of a VGG; those that the plan lowers are computed in Winograd's domain.

The data of a convolution in that domain is more than twice as large as its maps, and onnxruntime
writes and reads it several times, which is fast only in the processor's cache. So *large maps* are
computed image by image, in the *stem*, a separate graph that takes one image. *Small maps* are
computed for a whole batch, so that the large matrices of their layers are read once.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

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
    """Add convolutions, each with its ReLU, and pooling.

    Args:
        nodes: The graph to extend.
        layers: Convolutions and pooling, in order.
        lowered: The result of `lowered_layers`.
        maps: Input of the first layer.

    Returns:
        Output of the last layer.
    """
    for layer in layers:
        if layer.name in lowered:
            one = lowered[layer.name]
            blocks = in_blocks(nodes, maps, (one.inputs, one.side), one.block)
            maps = convolve(nodes, one, blocks)
        elif layer.kind == "convolution":
            maps = _convolve(nodes, layer, in_planes(nodes, maps))
        elif isinstance(maps, str):  # a lowered convolution includes the pooling after it
            maps = nodes.add(
                "MaxPool", maps, result=layer.name, kernel_shape=[2, 2], strides=[2, 2]
            )
    return maps


def in_blocks(nodes: NodeList, maps: Maps, shape: tuple[int, int], block: int) -> ChannelBlocks:
    """Return maps in blocks; `shape` is their channels and their side."""
    if isinstance(maps, ChannelBlocks):
        return maps
    return ChannelBlocks.of_maps(nodes, maps, *shape, block)


def in_planes(nodes: NodeList, maps: Maps) -> str:
    """Return maps as float32 [N, channels, side, side]."""
    return maps.to_maps(nodes) if isinstance(maps, ChannelBlocks) else maps


def _convolve(nodes: NodeList, layer: LayerRow, maps: str) -> str:
    """Add a convolution that onnxruntime computes itself, by its name in the paper."""
    sums = nodes.add(
        "Conv",
        maps,
        f"{layer.name}_weight",
        f"{layer.name}_bias",
        result=layer.name,
        kernel_shape=[layer.kernel] * 2,
        pads=[layer.kernel // 2] * 4,
    )
    return nodes.add("Relu", sums, result=f"{layer.name}_relu")
