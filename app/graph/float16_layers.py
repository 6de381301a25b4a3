"""The convolutions of a VGG in float16, in the order that takes a GPU the least time.

onnxruntime runs a convolution, its bias, its ReLU and the pooling after it one after the other, and
each reads and writes all maps. On an H100 the convolutions were a third of the time of VGG-16 in
batches, the passes over the maps the rest (docs/performance.md). So

- bias and ReLU come after the pooling, where there are a quarter of the values: the largest value of
  four, plus the bias, is the largest of the four with the bias, and ReLU keeps the order too. Where
  something else reads the maps of a convolution (explanations do), its pooling stays the last step;
- the bias is an addition of its own: cuDNN's kernel for it takes twice as long. The session has to
  leave it so (app/runtime/ort.py);
- the image gets channels of zeros until there are WIDTH: tensor cores take no three.

No value changes by it, except by the order in which the first convolution sums.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from app.graph.node_list import NodeList
from app.graph.vgg import LayerRow

WIDTH: Final = 8
"""Channels of the first convolution's input; 4 took the same time on an H100."""


def add_convolutions_in_float16(
    nodes: NodeList, layers: Sequence[LayerRow], image: str, kept: Collection[str] = ()
) -> str:
    """Add convolutions and poolings, from float16 [N, 3, side, side] to maps.

    The weights are the tensors that the layers name, the biases those of `bias_maps`, and the first
    weight that of `widened`.

    Args:
        nodes: Get the nodes.
        layers: All convolutions and poolings.
        image: The input.
        kept: Convolutions whose maps, NAME_relu, are read by something else too.
    """
    pads = nodes.integers(0, 0, 0, 0, 0, WIDTH - 3, 0, 0)
    value = nodes.add("Pad", image, pads, result=f"{image}_wide")
    for number, (layer, following) in enumerate(pairwise(layers)):
        if layer.kind != "convolution":
            continue
        value = nodes.add(
            "Conv",
            value,
            f"{layer.name}_weight{'' if number else '_wide'}",
            result=f"{layer.name}_products",
            kernel_shape=[layer.kernel] * 2,
            pads=[layer.kernel // 2] * 4,
        )
        pooled = following.kind == "max-pooling"
        if pooled and layer.name not in kept:
            value = _pool(nodes, value, following.name)
        value = nodes.add("Add", value, f"{layer.name}_bias_map", result=layer.name)
        value = nodes.add("Relu", value, result=f"{layer.name}_relu")
        if pooled and layer.name in kept:
            value = _pool(nodes, value, following.name)
    return value


def bias_maps(
    tensors: Mapping[str, TensorProto], layers: Sequence[LayerRow]
) -> dict[str, TensorProto]:
    """Return the biases of convolutions as [channels, 1, 1], each the same bytes in the same file."""
    maps = {}
    for layer in layers:
        if layer.kind == "convolution":
            one = TensorProto()
            one.CopyFrom(tensors[f"{layer.name}_bias"])
            one.name = f"{layer.name}_bias_map"
            one.dims.extend([1, 1])
            maps[one.name] = one
    return maps


def widened(weight: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return the first convolution's weight [outputs, channels, 3, 3] for WIDTH channels."""
    return np.pad(weight, ((0, 0), (0, WIDTH - weight.shape[1]), (0, 0), (0, 0)))


def _pool(nodes: NodeList, value: str, name: str) -> str:
    return nodes.add("MaxPool", value, result=name, kernel_shape=[2, 2], strides=[2, 2])
