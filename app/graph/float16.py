"""float16, where a GPU has its speed: what changes in a serving graph, and why nothing overflows.

float16 ends at 65,504, and the activations of a real VGG reach thousands; how far they go on a
photo that nobody has seen yet, no test can say. But convolution, ReLU and pooling are positively
homogeneous: f(s * x) = s * f(x) for s > 0 if the biases are multiplied by s as well. So the whole
network runs on SCALE times its numbers. SCALE is a power of two, so that nothing is rounded by it,
and 65,504 / SCALE is four million. At the small end full precision ends at 2**-14 / SCALE, 0.004.

The last step to the logits divides by SCALE again, in float32, and softmax is float32 too: a logit
of 20 in float16 would be off by up to 0.008, which is a probability off by 0.002.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.errors import PrecisionError
from app.records import Layer, Preprocess

Precision: TypeAlias = Literal["float32", "float16"]
Stored: TypeAlias = NDArray[np.float32] | NDArray[np.float16]

SCALE: Final = 2.0**-6
LAST: Final = "fc8"
"""The layer of a VGG that gives the logits; it is float32."""

_UNSCALE: Final = "served_unscale"
_OFFSETS: Final = {"Conv": {2}, "Gemm": {2}, "Add": {0, 1}, "Sum": set(range(64))}
"""Inputs that are added: where they are constants, they are scaled with the activations."""
_WEIGHTLESS: Final = {
    *("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("Dropout", "Identity", "Flatten", "Reshape", "Squeeze"),
}
_HOMOGENEOUS: Final = {*_OFFSETS, *_WEIGHTLESS, "Concat", "Constant"}


def chosen(wanted: Literal["auto", "float32", "float16"], place: str) -> Precision:
    """Return the precision for a device, `cpu` or `cuda`: `auto` is float16 on CUDA alone."""
    if wanted != "auto":
        return wanted
    return "float16" if place == "cuda" else "float32"


def scaled(preprocess: Preprocess) -> Preprocess:
    """Return the preprocessing whose results are SCALE times as large."""
    red, green, blue = (one / SCALE for one in preprocess.std)
    return replace(preprocess, std=(red, green, blue))


def stored_tensors(name: str, layer: Layer, precision: Precision) -> Iterator[tuple[str, Stored]]:
    """Name the tensors of a layer and give them as they are stored.

    Raises:
        PrecisionError: If one does not fit into float16.
    """
    half = precision == "float16" and name != LAST
    yield f"{name}_weight", halved(f"{name}_weight", layer.weight) if half else layer.weight
    bias = f"{name}_bias"
    yield bias, halved(bias, layer.bias * np.float32(SCALE)) if half else layer.bias


def halved(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round a tensor to float16.

    Raises:
        PrecisionError: If a value is too large for it.
    """
    with np.errstate(over="ignore"):
        result = tensor.astype(np.float16)
    if not np.isfinite(result).all():
        raise PrecisionError(f"{name} holds values above 65,504: set VGG_PRECISION=float32")
    return result


def halve_vgg(nodes: list[NodeProto]) -> list[NodeProto]:
    """Let the layers of a VGG compute in float16, from `pixels` that are `scaled`.

    Args:
        nodes: In order; the first takes float32, LAST is a Gemm and gives the logits.

    Returns:
        The same with a cast in front of the first and of LAST; that one divides by SCALE.
    """
    result: list[NodeProto] = []
    for number, original in enumerate(nodes):
        node = NodeProto()
        node.CopyFrom(original)
        if number == 0:
            result.append(_cast(node, TensorProto.FLOAT16))
        if node.name == LAST:
            result.append(_cast(node, TensorProto.FLOAT))
            node.attribute.append(helper.make_attribute("alpha", 1 / SCALE))
        result.append(node)
    return result


def halve_classifier(
    nodes: Iterable[NodeProto], initializers: Iterable[TensorProto], source: str, logits: str
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Let somebody's classifier compute in float16, if scaling its numbers scales its logits.

    Args:
        nodes: From the input to the logits, in order.
        initializers: Their constants, float32.
        source: Name of the input.
        logits: Name of the last output.

    Returns:
        Nodes from `scaled_pixels` (`scaled`, float32) to `served_logits` (float32), and constants.

    Raises:
        PrecisionError: If it has an operator that does not scale, or a constant that is too large.
    """
    nodes = list(nodes)
    constants = {tensor.name: tensor for tensor in initializers}
    constants |= {n.output[0]: tensor for n in nodes if (tensor := _constant(n)) is not None}
    kept = {name: t for name, t in constants.items() if t.data_type != TensorProto.FLOAT}
    kept[_UNSCALE] = numpy_helper.from_array(np.array(1 / SCALE, np.float32), _UNSCALE)
    result = [helper.make_node("Cast", ["scaled_pixels"], [source], to=TensorProto.FLOAT16)]
    end, last = _last_steps(nodes, logits)
    for original in nodes:
        if original.op_type not in _HOMOGENEOUS:
            message = f"{original.op_type} may overflow in float16: set VGG_PRECISION=float32"
            raise PrecisionError(message)
        if _constant(original) is not None:
            continue
        node = NodeProto()
        node.CopyFrom(original)
        for position, name in enumerate(node.input):
            if name in constants and name not in kept:
                offset = position in _OFFSETS.get(node.op_type, ())
                value = numpy_helper.to_array(constants[name]) * np.float32(SCALE if offset else 1)
                stored = value if original in last else halved(name, value)
                node.input[position] = f"{name}_{'offset' if offset else 'factor'}_{stored.dtype}"
                kept[node.input[position]] = numpy_helper.from_array(stored, node.input[position])
            elif name == end and original in last:
                node.input[position] = "scaled_end"
        if end in node.output:
            result += [node, helper.make_node("Cast", [end], ["scaled_end"], to=TensorProto.FLOAT)]
        else:
            result.append(node)
    scaled_logits = logits if last else "scaled_end"
    result.append(helper.make_node("Mul", [scaled_logits, _UNSCALE], ["served_logits"]))
    return result, list(kept.values())


def _last_steps(nodes: list[NodeProto], logits: str) -> tuple[str, list[NodeProto]]:
    """Return the value from which on float32 costs next to nothing, and the nodes from there on.

    They are those that have no weights, and in front of them one fully connected layer.
    """
    producers = {output: node for node in nodes for output in node.output}
    value, last = logits, list[NodeProto]()
    while value in producers and (producers[value].op_type in {*_WEIGHTLESS, "Gemm"}):
        last.append(producers[value])
        value = last[-1].input[0]
        if last[-1].op_type == "Gemm":
            break
    return value, last


def _constant(node: NodeProto) -> TensorProto | None:
    """Return the tensor of a node that is a constant, by the name of its output."""
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            return tensor
    return None


def _cast(node: NodeProto, to: int) -> NodeProto:
    """Make the cast that stands in front of a node, and let the node take its result."""
    value = node.input[0]
    node.input[0] = f"{value}_{TensorProto.DataType.Name(to).lower()}"
    return helper.make_node("Cast", [value], [node.input[0]], to=to)
