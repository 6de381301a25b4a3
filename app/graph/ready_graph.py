"""Somebody's ready ONNX classifier to a serving graph: what stands around it is ours."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper

from app.errors import CheckpointError
from app.graph.float16 import Precision, halve_classifier, scaled
from app.graph.serving_graph import (
    GRAPH_FILE,
    OUTPUT,
    WEIGHTS_FILE,
    input_info,
    output_info,
    preprocess_nodes,
)
from app.graph.vgg import CLASSES
from app.records import Preprocess

_OLDEST_OPSET: Final = 7  # where Sub and Div began to broadcast as numpy does
_OLDEST_IR: Final = 4  # where a weight needed no longer be an input as well
_THEIRS: Final = "model_"  # in front of their names, so that none of them meets one of ours
_STANDARD: Final = {"", "ai.onnx"}  # two names of one set of operators
_SHAPE_KEEPERS: Final = {"Flatten", "Reshape", "Squeeze", "Identity"}


def write_ready(
    folder: Path, path: Path, preprocess: Preprocess, precision: Precision = "float32"
) -> None:
    """Put preprocessing in front of a classifier, and softmax behind it if it has none.

    The classifier takes float32 [N, 3, crop, crop] and gives 1000 logits or probabilities;
    a batch size that was fixed when it was exported is freed.

    Args:
        folder: An existing folder; GRAPH_FILE and WEIGHTS_FILE are written there.
        path: The classifier, in one file.
        preprocess: What its publisher says it expects.
        precision: Of what lies between preprocessing and softmax.

    Raises:
        CheckpointError: If it is not such a classifier, or not one that float16 can hold.
        OSError: If the files cannot be read or written.
    """
    model = _load(path)
    compose.add_prefix(model, _THEIRS, inplace=True)
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    graph = model.graph
    source, result = _ends(path, model, preprocess.crop)
    tail = _softmax_and_after(list(graph.node), result)
    body = [node for node in graph.node if node not in tail]
    weights = list(graph.initializer)
    if precision == "float16":
        before, constants = preprocess_nodes(scaled(preprocess), "scaled_pixels")
        body, weights = halve_classifier(
            body, weights, source, tail[0].input[0] if tail else result
        )
        if tail:
            tail[0].input[0] = "served_logits"
        else:
            result = "served_logits"
    else:
        before, constants = preprocess_nodes(preprocess, source)
    after = [
        helper.make_node("Flatten", [result], ["served_flat"], axis=1),
        helper.make_node("Identity", ["served_flat"], [OUTPUT])
        if tail
        else helper.make_node("Softmax", ["served_flat"], [OUTPUT], axis=1),
    ]
    for field in ("node", "value_info", "input", "output", "initializer"):
        graph.ClearField(field)
    graph.node.extend([*before, *body, *tail, *after])
    graph.initializer.extend([*weights, *constants])
    graph.input.append(input_info(preprocess.crop))
    graph.output.append(output_info())
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
        message = f"{path}: uses ONNX opset {opset}, expected {_OLDEST_OPSET} or newer"
        raise CheckpointError(message)
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            message = f"{path}: keeps {tensor.name!r} in another file, expected all in this one"
            raise CheckpointError(message)
    return model


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """List every tensor of a graph, those in attributes and inner graphs too."""
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
    """Name the input and the output, after a check that they can be used."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        message = (
            f"{path}: has {len(inputs)} inputs and {len(graph.output)} outputs, expected one each"
        )
        raise CheckpointError(message)
    tensor = inputs[0].type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]  # 0 where any size will do
    wanted = (0, 3, crop, crop)  # the batch size may be anything
    fits = len(shape) == len(wanted) and all(
        have in {0, want} for have, want in zip(shape[1:], wanted[1:], strict=True)
    )
    if tensor.elem_type != TensorProto.FLOAT or not fits:
        message = (
            f"{path}: takes {TensorProto.DataType.Name(tensor.elem_type)} {shape},"
            f" expected FLOAT [N, 3, {crop}, {crop}] with the crop of the manifest"
        )
        raise CheckpointError(message)
    classes = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim][1:]
    if 0 not in classes and (not classes or prod(classes) != CLASSES):
        message = f"{path}: gives {classes} values an image, expected {CLASSES}"
        raise CheckpointError(message)
    return inputs[0].name, graph.output[0].name


def _softmax_and_after(nodes: list[NodeProto], result: str) -> list[NodeProto]:
    """List the nodes from the softmax that the result comes from to its end; none without one."""
    producers = {output: node for node in nodes for output in node.output}
    found: list[NodeProto] = []
    while result in producers:
        node = producers[result]
        found.insert(0, node)
        if node.op_type == "Softmax":
            return found
        if node.op_type not in _SHAPE_KEEPERS:
            break
        result = node.input[0]
    return []
