"""From named tensors to a serving graph: pixels in, probabilities out.

A serving graph takes `image`, uint8 [N, crop, crop, 3], RGB, and gives `probabilities`,
float32 [N, classes], and `energy`, float32 [N]: the log of the sum of exponentials of the logits, which
is small for photos unlike those that the network was trained with (Liu et al. 2020, arXiv 2010.03759,
call its negative free energy). A model's temperature divides the logits before softmax and nothing else:
the energy is that of the logits as trained. It normalises the pixels itself, so that a quarter of the
bytes cross the bus and no caller can normalise twice. Its large tensors are in a separate file beside
it, which the session maps into memory instead of reading.

Where large maps are lowered (app/graph/layers.py) there is a second graph, the stem: it takes a
single `image` and gives `maps`, float32 [rows, 1, block] (app/graph/channel_blocks.py); the serving
graph then takes the `maps` of a batch, [rows, N, block], in place of `image`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from app.graph.channel_blocks import ChannelBlocks
from app.graph.conv_plan import DIRECT, ConvPlan, is_large
from app.graph.explain import EXPLAIN_FILE, Explainable
from app.graph.explain_nodes import explain_graph
from app.graph.float16 import Precision, Stored, halve_vgg, scaled, stored_tensors
from app.graph.float16_layers import add_convolutions_in_float16, bias_maps
from app.graph.layers import (
    Maps,
    add_convolutions,
    add_dense,
    add_dense_for_cpu,
    in_blocks,
    in_planes,
    lowered_layers,
)
from app.graph.node_list import NodeList
from app.graph.normalize import preprocess_nodes
from app.graph.vgg import VggConfig
from app.graph.winograd import GROWTH
from app.records import Explanation, Layer, Preprocess

GRAPH_VERSION: Final = 7
"""Part of the key of every serving graph on disk: raise it whenever a graph comes out differently.

Every module of this package counts. tests/graph/test_graph_version.py pins the bytes of graphs."""

INPUT: Final = "image"
MAPS: Final = "maps"
OUTPUT: Final = "probabilities"
ENERGY: Final = "energy"
GRAPH_FILE: Final = "graph.onnx"
STEM_FILE: Final = "stem.onnx"
WEIGHTS_FILE: Final = "weights.bin"

OPSET: Final = 17
IR_VERSION: Final = 9
_PAGE: Final = 4096  # bytes; each tensor begins on a page, so that it can be mapped by itself


def write_vgg(
    folder: Path,
    config: VggConfig,
    layers: Iterable[tuple[str, Layer]],
    preprocess: Preprocess,
    precision: Precision = "float32",
    plan: ConvPlan = DIRECT,
    explanation: Explanation | None = None,
    temperature: float = 1.0,
) -> None:
    """Write the serving graph of a VGG as GRAPH_FILE and WEIGHTS_FILE into `folder`.

    Args:
        folder: An existing folder; files of the same names are overwritten.
        config: The network; its side is the crop of `preprocess`.
        layers: Every layer with weights, in the order of `config.weight_shapes()`; each is
            written before the next is taken, so that only one has to be in memory.
        preprocess: Computed before conv1_1.
        precision: Precision of the layers; input and output do not depend on it.
        plan: How convolutions are computed, in float32. A plan that lowers some is for a CPU; if it
            lowers large maps, STEM_FILE is written too, unless the last of them do not fit into
            blocks.
        explanation: Also write EXPLAIN_FILE, a graph on the same weights, and let the serving graph
            give what it needs; so no layer that it needs is in a stem.
        temperature: Divides the logits before softmax.

    Raises:
        PrecisionError: If a weight does not fit into the precision.
    """
    half = precision == "float16"
    lowered = lowered_layers(config, plan)
    explained = explanation and Explainable(config, explanation, lowered, half)
    tensors: dict[str, TensorProto] = {}
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for name, layer in layers:
            stored: Iterable[tuple[str, Stored]] = (
                lowered[name].tensors(layer.weight, layer.bias)
                if name in lowered
                else stored_tensors(name, layer, precision)
            )
            tensors |= {key: append_tensor(weights, key, tensor) for key, tensor in stored}
            if explained:
                more = explained.tensors(name, layer.weight)
                tensors |= {key: append_tensor(weights, key, tensor) for key, tensor in more}
    before, constants = preprocess_nodes(
        scaled(preprocess) if half else preprocess, INPUT, "pixels"
    )
    image = input_info(preprocess.crop)
    rows = config.layers()
    dense = [row for row in rows if row.kind == "fully connected"]
    kept = {row.name for row in explained.kept()} if explained else set()
    large = [*takewhile(lambda row: is_large(row) and row.name not in kept, rows)]
    small = rows[len(large) : -len(dense)]
    nodes = NodeList()
    nodes.nodes += before
    nodes.constants += constants
    maps: Maps
    if half:
        tensors |= bias_maps(tensors, rows)
        both = (*large, *small)
        maps, small = add_convolutions_in_float16(nodes, both, "pixels", kept), ()
    else:
        maps = add_convolutions(nodes, large, lowered, "pixels")
    channels, side = large[-1].output_shape[:2] if large else (0, 0)
    if any(row.name in lowered for row in large) and channels % plan.block == 0:
        blocks = in_blocks(nodes, maps, (channels, side), plan.block)
        nodes.add("Identity", blocks.value, result=MAPS)
        image.type.tensor_type.shape.dim[0].dim_value = 1
        save_graph(folder / STEM_FILE, nodes, tensors, [image], [_maps_info(blocks, 1)])
        nodes, image, maps = NodeList(), _maps_info(blocks, "N"), replace(blocks, value=MAPS)
    maps = add_convolutions(nodes, small, lowered, maps)
    value = in_planes(nodes, maps)
    value = nodes.add("Flatten", value, result="pool5_flat", axis=1)
    value = (add_dense_for_cpu if lowered else add_dense)(nodes, dense, value)
    add_results(nodes, value, temperature)
    if half:
        nodes.nodes[len(before) :] = halve_vgg(nodes.nodes[len(before) :])
    results = [output_info(config.classes), energy_info()]
    if explained:
        results += explained.outputs()
        questions, inputs, answers = explain_graph(explained)
        save_graph(folder / EXPLAIN_FILE, questions, tensors, inputs, answers)
    save_graph(folder / GRAPH_FILE, nodes, tensors, [image], results)


def graph_size(config: VggConfig, precision: Precision, plan: ConvPlan) -> int:
    """Estimate the size of a serving graph, in bytes."""
    lowered = sum(prod(row.weight_shape) for row in config.layers() if plan.lowers(row))
    weight = 2 if precision == "float16" else 4
    return weight * (config.parameters() + (GROWTH - 1) * lowered)


def save_graph(
    path: Path,
    nodes: NodeList,
    tensors: dict[str, TensorProto],
    sources: Sequence[ValueInfoProto],
    results: Sequence[ValueInfoProto],
) -> None:
    """Write a graph with the tensors that it uses."""
    used = _inputs(nodes.nodes)
    initializers = [*nodes.constants, *(t for name, t in tensors.items() if name in used)]
    graph = helper.make_graph(nodes.nodes, "vgg", sources, results, initializer=initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    others = sorted({node.domain for node in nodes.nodes} - {""})
    opsets += [helper.make_opsetid(domain, 1) for domain in others]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="vgg-serve"
    )
    onnx.save_model(model, path)


def _inputs(nodes: Iterable[NodeProto]) -> set[str]:
    """Return the names of all inputs of nodes, also of those in their branches."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            found |= _inputs(attribute.g.node)
    return found


def input_info(crop: int) -> ValueInfoProto:
    """Describe the input of every serving graph."""
    return helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", crop, crop, 3])


def _maps_info(blocks: ChannelBlocks, images: int | str) -> ValueInfoProto:
    """Describe the output of a stem, which is the input of its serving graph."""
    shape = [blocks.rows, images, blocks.block]
    return helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, shape)


def output_info(classes: int) -> ValueInfoProto:
    """Describe the output of every serving graph."""
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])


def energy_info() -> ValueInfoProto:
    """Describe the output beside it of every graph that has logits."""
    return helper.make_tensor_value_info(ENERGY, TensorProto.FLOAT, ["N"])


def add_results(nodes: NodeList, logits: str, temperature: float = 1.0) -> None:
    """Add the nodes that compute both outputs from logits, float32 [N, classes]."""
    divided = logits
    if temperature != 1:
        divided = nodes.add("Div", logits, nodes.constant(np.array(temperature, np.float32)))
    nodes.add("Softmax", divided, result=OUTPUT, axis=1)
    nodes.add("ReduceLogSumExp", logits, result=ENERGY, axes=[1], keepdims=0)


def append_tensor(weights: BinaryIO, name: str, tensor: Stored) -> TensorProto:
    """Append a tensor to the weights file, and return a reference to it."""
    weights.write(b"\0" * (-weights.tell() % _PAGE))
    reference = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype.type)),
        dims=tensor.shape,
        data_location=TensorProto.EXTERNAL,
    )
    where = {"location": WEIGHTS_FILE, "offset": weights.tell(), "length": tensor.nbytes}
    for key, value in where.items():
        reference.external_data.add(key=key, value=str(value))
    weights.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data)
    return reference
