"""From somebody's ONNX classifier to a serving graph: preprocessing before it, softmax and temperature after it."""

from pathlib import Path
from typing import Final

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from app.graph.data_files import load_onnx, move_tensors, save_onnx
from app.graph.normalize import preprocess_nodes
from app.graph.own_answers import LEAST, Ask, Meaning, Scores, are_coarse, find_scores, save_answers
from app.graph.serving_graph import (
    ENERGY,
    GRAPH_FILE,
    INPUT,
    OUTPUT,
    WEIGHTS_FILE,
    energy_info,
    input_info,
    output_info,
)
from app.records import Preprocess
from app.setup_errors import CheckpointError

READY_VERSION: Final = 2
"""Part of the key of every ready graph on disk, beside GRAPH_VERSION: raise it whenever one comes out
differently."""

_OLDEST_OPSET: Final = 7  # the first where Sub and Div broadcast as in numpy
_AXES_AS_INPUT: Final = 18  # of reductions, from this opset on
_LIMITS_AS_INPUTS: Final = 11  # of Clip, from this opset on
_OLDEST_IR: Final = 4  # the first where weights need not be inputs too
_PREFIX: Final = "model_"  # of their names, so that none equals one of ours
_STANDARD: Final = {"", "ai.onnx"}  # two names of one set of operators
_TAKEN: Final = {TensorProto.FLOAT, TensorProto.FLOAT16}
_THEIRS: Final = "theirs.onnx"


def write_ready(
    folder: Path,
    path: Path,
    preprocess: Preprocess,
    classes: int,
    ask: Ask,
    temperature: float = 1.0,
) -> None:
    """Put preprocessing in front of a classifier, and softmax behind it if it gives logits.

    The classifier takes float32 or float16 [N, 3, crop, crop] and gives a number for each class; a batch size that was fixed when it was exported is freed. Whether the numbers are logits or
    probabilities is decided by running it, as it is.

    Args:
        folder: An existing folder; GRAPH_FILE, WEIGHTS_FILE and ANSWERS_FILE are written there.
        path: The classifier; files that it names are beside it.
        preprocess: The input that its publisher says it expects.
        classes: How many there are labels for.
        ask: Runs the classifier.
        temperature: Divides the logits before softmax; of probabilities their logarithms, which differ
            from logits by a constant that softmax does not notice.

    Raises:
        CheckpointError: If it is not such a classifier, or gives probabilities that are too coarse for
            a temperature.
    """
    try:
        _write(folder, path, preprocess, classes, ask, temperature)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from None  # the log would say it twice


def side_of(path: Path) -> int:
    """Return the side of the photos that a classifier takes, in pixels.

    Raises:
        CheckpointError: If it is no classifier, or leaves the side open.
    """
    try:
        shape = _shape(_only_input(_load(path)))
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from None
    if len(shape) != 1 + len("CHW") or shape[1] not in {0, 3} or shape[2] != shape[3]:
        raise CheckpointError(f"{path}: takes {shape}, expected square photos, [N, 3, side, side]")
    if shape[2] < 1:
        raise CheckpointError(
            f"{path}: takes photos of any side, so that nobody knows which it was trained with:"
            " export it with a fixed height and width"
        )
    return shape[2]


def _write(
    folder: Path,
    path: Path,
    preprocess: Preprocess,
    classes: int,
    ask: Ask,
    temperature: float,
) -> None:
    model = _load(path)
    source = _input(model, preprocess.crop)
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        move_tensors(path, model, weights)
    theirs = folder / _THEIRS
    save_onnx(model, theirs)
    try:
        answers = ask(theirs, preprocess)
    finally:
        theirs.unlink()
    scores = find_scores(answers, classes, "probabilities" if temperature == 1 else "logits")
    if temperature != 1 and scores.meaning == "probabilities" and are_coarse(scores.rows):
        raise CheckpointError(
            "gives probabilities that are rounded or limited, so that small ones are lost, and the"
            f" temperature of its manifest, {temperature:g}, would give wrong ones: export it without its"
            " softmax, so that it gives logits, or delete temperature from the manifest"
        )
    _surround(model, source, scores, preprocess, temperature)
    save_onnx(model, folder / GRAPH_FILE)
    save_answers(folder, answers.images, scores)


def _load(path: Path) -> ModelProto:
    model = load_onnx(path)
    if not model.graph.node:
        raise CheckpointError("is not an ONNX file, or holds an empty graph")
    if _opset(model) < _OLDEST_OPSET:
        raise CheckpointError(f"uses ONNX opset {_opset(model)}, expected {_OLDEST_OPSET} or newer")
    return model


def _opset(model: ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in _STANDARD), default=1)


def _input(model: ModelProto, crop: int) -> ValueInfoProto:
    """Return the input, after a check that it fits."""
    source = _only_input(model)
    elem_type, shape = source.type.tensor_type.elem_type, _shape(source)
    wanted = (3, crop, crop)  # and any batch size
    fits = len(shape) == 1 + len(wanted) and all(
        have in {0, want} for have, want in zip(shape[1:], wanted, strict=True)
    )
    if elem_type not in _TAKEN or not fits:
        raise CheckpointError(
            f"takes {TensorProto.DataType.Name(elem_type)} {shape},"
            f" expected FLOAT or FLOAT16 [N, 3, {crop}, {crop}] with the crop of the manifest"
        )
    taken = ValueInfoProto()
    taken.CopyFrom(source)  # it is renamed with the others
    return taken


def _only_input(model: ModelProto) -> ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise CheckpointError(f"has {len(inputs)} inputs, expected one, the image")
    return inputs[0]


def _shape(source: ValueInfoProto) -> list[int]:
    """Return the shape of an input, with 0 where any size is allowed."""
    return [dim.dim_value for dim in source.type.tensor_type.shape.dim]


def _surround(
    model: ModelProto,
    source: ValueInfoProto,
    scores: Scores,
    preprocess: Preprocess,
    temperature: float,
) -> None:
    """Turn a classifier into a serving graph."""
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    graph = model.graph
    _rename(graph)
    taken, data = source.type.tensor_type.elem_type, _PREFIX + source.name
    if taken == TensorProto.FLOAT:
        before, constants = preprocess_nodes(preprocess, INPUT, data)
    else:
        before, constants = preprocess_nodes(preprocess, INPUT, "served_input")
        before.append(helper.make_node("Cast", ["served_input"], [data], to=taken))
    theirs = _PREFIX + scores.output
    if scores.by_image:
        # onnxruntime 1.32 moves a last DequantizeLinear of int8 behind a Reshape, and fails.
        after = [helper.make_node("Flatten", [theirs], ["served_rows"], axis=1)]
    else:
        shape = numpy_helper.from_array(
            np.array([-1, scores.rows.shape[1]], np.int64), "served_shape"
        )
        constants.append(shape)
        after = [helper.make_node("Reshape", [theirs, shape.name], ["served_rows"])]
    if scores.rows.dtype != np.float32:
        after += [
            helper.make_node("Cast", ["served_rows"], ["served_float32"], to=TensorProto.FLOAT)
        ]
    last = after[-1].output[0]
    results = [output_info(scores.rows.shape[1])]
    if scores.meaning == "logits" or temperature != 1:
        more, its = _softmax(last, scores.meaning, temperature, _opset(model))
        after += more
        constants += its
    else:
        after.append(helper.make_node("Identity", [last], [OUTPUT]))
    if scores.meaning == "logits":
        summed = helper.make_node("ReduceLogSumExp", [last], [ENERGY], keepdims=0)
        if _opset(model) < _AXES_AS_INPUT:
            summed.attribute.append(helper.make_attribute("axes", [1]))
        else:
            constants.append(numpy_helper.from_array(np.array([1], np.int64), "served_axes"))
            summed.input.append("served_axes")
        after.append(summed)
        results.append(energy_info())
    nodes = list(graph.node)
    model.ClearField("training_info")
    for field in ("node", "value_info", "input", "output", "quantization_annotation"):
        graph.ClearField(field)
    graph.node.extend([*before, *nodes, *after])
    graph.initializer.extend(constants)
    graph.input.append(input_info(preprocess.crop))
    graph.output.extend(results)


def _softmax(
    source: str, meaning: Meaning, temperature: float, opset: int
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Make the nodes from logits, or from probabilities, to probabilities at a temperature."""
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    if meaning == "probabilities":
        above_0 = helper.make_node("Clip", [source], ["served_above_0"])
        if opset < _LIMITS_AS_INPUTS:
            above_0.attribute.append(helper.make_attribute("min", LEAST))
        else:
            constants.append(numpy_helper.from_array(np.array(LEAST, np.float32), "served_least"))
            above_0.input.append("served_least")
        nodes += [above_0, helper.make_node("Log", ["served_above_0"], ["served_logits"])]
        source = "served_logits"
    if temperature != 1:
        divisor = numpy_helper.from_array(np.array(temperature, np.float32), "served_temperature")
        constants.append(divisor)
        nodes.append(helper.make_node("Div", [source, divisor.name], ["served_divided"]))
        source = "served_divided"
    nodes.append(helper.make_node("Softmax", [source], [OUTPUT], axis=1))
    return nodes, constants


def _rename(graph: GraphProto) -> None:
    """Put the prefix before the name of each value, also in inner graphs, which use outer values.

    Functions have names of their own. `onnx.compose.add_prefix` forgets constants that inner
    graphs use, and takes an operator for a function of the same name.
    """
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and _PREFIX + name for name in names]  # optional ones are empty
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = _PREFIX + value.name
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = _PREFIX + tensor.name
