"""A VGG in float16, which a GPU computes fastest: what changes in the graph, and why nothing overflows.

float16 ends at 65,504, and the activations of a real VGG reach thousands; no test can say how large
they get on a new photo. But convolution, ReLU and pooling are positively homogeneous:
f(s * x) = s * f(x) for s > 0 if the biases are multiplied by s as well. So the whole network computes
with SCALE times its numbers. SCALE is a power of two, so that it rounds nothing, and 65,504 / SCALE is
four million. Small numbers have full precision down to 2**-14 / SCALE, 0.004.

The last layer divides by SCALE again, in float32, and softmax is float32 too: a logit of 20 in
float16 would be off by up to 0.008, which is a probability off by 0.002.

Only networks of the VGG family are converted; somebody's ONNX file (app/graph/ready_graph.py) keeps its
precision. What a GPU would gain is lost before it: one process handles about 1,200 photos per second
(`python -m tests.measure_host`), fewer than a GPU classifies in float32 with a small network.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from app.graph.float16_layers import widened
from app.graph.vgg import FIRST_LAYER, LAST_LAYER
from app.records import Layer, Preprocess
from app.setup_errors import PrecisionError

Precision: TypeAlias = Literal["float32", "float16", "int8"]
PrecisionChoice: TypeAlias = Literal["auto", "float32", "float16", "int8"]
Stored: TypeAlias = NDArray[np.float32] | NDArray[np.float16]

SCALE: Final = 2.0**-6


def chosen(wanted: PrecisionChoice, device: str) -> Precision:
    """Return the precision for a device, `cpu` or `cuda`: `auto` is float16 on CUDA only."""
    if wanted != "auto":
        return wanted
    return "float16" if device == "cuda" else "float32"


def scaled(preprocess: Preprocess) -> Preprocess:
    """Return the preprocessing whose results are multiplied by SCALE."""
    red, green, blue = (one / SCALE for one in preprocess.std)
    return replace(preprocess, std=(red, green, blue))


def stored_tensors(name: str, layer: Layer, precision: Precision) -> Iterator[tuple[str, Stored]]:
    """List the tensors of a layer by name, as they are stored.

    Raises:
        PrecisionError: If one does not fit into float16.
    """
    weight, bias = f"{name}_weight", f"{name}_bias"
    if precision == "float32" or name == LAST_LAYER:
        yield weight, layer.weight
        yield bias, layer.bias
        return
    halved = _halved(weight, layer.weight)
    yield weight, halved
    yield bias, _halved(bias, layer.bias * np.float32(SCALE))
    if name == FIRST_LAYER:
        yield f"{weight}_wide", widened(halved)


def halve_vgg(nodes: list[NodeProto]) -> list[NodeProto]:
    """Let the layers of a VGG, in order, compute in float16, from pixels that are `scaled`.

    A cast comes before the first and one before LAST_LAYER, a Gemm, which divides by SCALE.
    """
    result: list[NodeProto] = []
    for number, original in enumerate(nodes):
        node = NodeProto()
        node.CopyFrom(original)
        if number == 0:
            result.append(_cast(node, TensorProto.FLOAT16))
        if node.name == LAST_LAYER:
            result.append(_cast(node, TensorProto.FLOAT))
            node.attribute.append(helper.make_attribute("alpha", 1 / SCALE))
        result.append(node)
    return result


def _halved(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        result = tensor.astype(np.float16)
    if not np.isfinite(result).all():
        raise PrecisionError(f"{name} has values above 65,504: set VGG_PRECISION=float32")
    return result


def _cast(node: NodeProto, to: int) -> NodeProto:
    """Return a cast of the node's first input, and let the node read its result."""
    value = node.input[0]
    node.input[0] = f"{value}_{TensorProto.DataType.Name(to).lower()}"
    return helper.make_node("Cast", [value], [node.input[0]], to=to)
