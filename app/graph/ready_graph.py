"""From somebody's ONNX classifier to a serving graph: preprocessing before it, softmax after it."""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper

from app.errors import CheckpointError
from app.graph.normalize import preprocess_nodes
from app.graph.serving_graph import (
    GRAPH_FILE,
    INPUT,
    OUTPUT,
    WEIGHTS_FILE,
    input_info,
    output_info,
)
from app.graph.vgg import CLASSES
from app.records import Preprocess

_OLDEST_OPSET: Final = 7  # the first where Sub and Div broadcast as in numpy
_OLDEST_IR: Final = 4  # the first where weights need not be inputs too
_PREFIX: Final = "model_"  # of their names, so that none equals one of ours
_STANDARD: Final = {"", "ai.onnx"}  # two names of one set of operators
_SHAPE_KEEPERS: Final = {"Flatten", "Reshape", "Squeeze", "Identity"}


def write_ready(folder: Path, path: Path, preprocess: Preprocess) -> None:
    """Put preprocessing in front of a classifier, and softmax behind it if it has none.

    The classifier takes float32 [N, 3, crop, crop] and gives 1000 logits or probabilities;
    a batch size that was fixed when it was exported is freed.

    Args:
        folder: An existing folder; GRAPH_FILE and WEIGHTS_FILE are written there.
        path: The classifier, in one file.
        preprocess: The input that its publisher says it expects.

    Raises:
        CheckpointError: If it is not such a classifier.
    """
    model = _load(path)
    compose.add_prefix(model, _PREFIX, inplace=True)
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    graph = model.graph
    source, result = _ends(path, model, preprocess.crop)
    before, constants = preprocess_nodes(preprocess, INPUT, source)
    after = [
        helper.make_node("Flatten", [result], ["served_flat"], axis=1),
        helper.make_node("Identity", ["served_flat"], [OUTPUT])
        if _has_softmax(graph.node, result)
        else helper.make_node("Softmax", ["served_flat"], [OUTPUT], axis=1),
    ]
    nodes, weights = list(graph.node), list(graph.initializer)
    for field in ("node", "value_info", "input", "output", "initializer"):
        graph.ClearField(field)
    graph.node.extend([*before, *nodes, *after])
    graph.initializer.extend([*weights, *constants])
    graph.input.append(input_info(preprocess.crop))
    graph.output.append(output_info(CLASSES))
    onnx.save_model(model, folder / GRAPH_FILE, save_as_external_data=True, location=WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).touch()  # onnx makes none where all weights are in Constant nodes


def _load(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except DecodeError as exc:
        raise CheckpointError(f"{path}: is not an ONNX file, or is damaged") from exc
    if not model.graph.node:
        raise CheckpointError(f"{path}: is not an ONNX file, or holds an empty graph")
    opset = max((o.version for o in model.opset_import if o.domain in _STANDARD), default=1)
    if opset < _OLDEST_OPSET:
        raise CheckpointError(f"{path}: uses ONNX opset {opset}, expected {_OLDEST_OPSET} or newer")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise CheckpointError(
                f"{path}: keeps {tensor.name!r} in another file, expected all in this one"
            )
    return model


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """List every tensor of a graph, also those in attributes and inner graphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _ends(path: Path, model: ModelProto, crop: int) -> tuple[str, str]:
    """Return the names of the input and the output, after a check that they fit."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise CheckpointError(
            f"{path}: has {len(inputs)} inputs and {len(graph.output)} outputs, expected one each"
        )
    tensor = inputs[0].type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]  # 0 where any size is allowed
    wanted = (3, crop, crop)  # and any batch size
    fits = len(shape) == 1 + len(wanted) and all(
        have in {0, want} for have, want in zip(shape[1:], wanted, strict=True)
    )
    if tensor.elem_type != TensorProto.FLOAT or not fits:
        raise CheckpointError(
            f"{path}: takes {TensorProto.DataType.Name(tensor.elem_type)} {shape},"
            f" expected FLOAT [N, 3, {crop}, {crop}] with the crop of the manifest"
        )
    classes = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim][1:]
    if 0 not in classes and (not classes or prod(classes) != CLASSES):
        raise CheckpointError(f"{path}: gives {classes} values per image, expected {CLASSES}")
    return inputs[0].name, graph.output[0].name


def _has_softmax(nodes: Iterable[NodeProto], result: str) -> bool:
    """Return whether a result comes from a softmax, its shape possibly changed afterwards."""
    producers = {output: node for node in nodes for output in node.output}
    while result in producers and producers[result].op_type in _SHAPE_KEEPERS:
        result = producers[result].input[0]
    return result in producers and producers[result].op_type == "Softmax"
