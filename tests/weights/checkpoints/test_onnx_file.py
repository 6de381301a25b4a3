"""Layers are taken out of a graph as the exporters of PyTorch write it, batch norm and all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.setup_errors import CheckpointError
from app.weights.checkpoints.read import read_checkpoint, recognise
from tests.weights.checkpoints.test_read import (
    CONFIG,
    channels_first,
    flatten,
    image,
    logits,
    make_onnx,
)

EPSILON = 0.01


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file under test."""
    return tmp_path / "net.onnx"


def exported(**between: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Build a graph with nodes in the head, after a layer, as `make_onnx` does."""
    between.setdefault("conv5_2", [flatten()])
    return make_onnx(channels_first(), opset=15, between=between, listed=False)


def with_batch_norm(model: onnx.ModelProto, **attributes: Any) -> onnx.ModelProto:
    """Put batch norm behind each convolution, as an export that folds no constants has it."""
    rng = np.random.default_rng(1)
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type != "Conv":
            continue
        result, size = node.output[0], sizes[node.input[1]]
        node.output[0] = f"{result}_sum"
        names = [f"{result}_{part}" for part in ("gain", "shift", "mean", "variance")]
        nodes.append(
            helper.make_node(
                "BatchNormalization",
                [node.output[0], *names],
                [result],
                epsilon=EPSILON,
                **attributes,
            )
        )
        for name in names:
            values = rng.uniform(0.5, 1.5, size).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def without_bias(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the biases of the convolutions, as `Conv2d(bias=False)` has none."""
    for node in model.graph.node:
        if node.op_type == "Conv":
            name = node.input.pop()
            kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
            del model.graph.initializer[:]
            model.graph.initializer.extend(kept)
    return model


def cast(to: int) -> onnx.NodeProto:
    """Make a node that `make_onnx` puts into its path."""
    return helper.make_node("Cast", [], [], to=to)


def reshape() -> onnx.NodeProto:
    """As the newer exporter flattens: to a shape that is a constant of the graph."""
    return helper.make_node("Reshape", ["val_8"], [], allowzero=1)


def with_shape(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the constant of `reshape`."""
    shape = numpy_helper.from_array(np.array([1, 24], np.int64), "val_8")
    model.graph.initializer.append(shape)
    return model


def pool() -> onnx.NodeProto:
    """As both exporters write an adaptive pooling that has nothing to do."""
    return helper.make_node("AveragePool", [], [], kernel_shape=[1, 1], strides=[1, 1])


GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "batch norm": lambda: with_batch_norm(exported()),
    "batch norm without bias": lambda: with_batch_norm(without_bias(exported())),
    "reshape to a constant": lambda: with_shape(exported(conv5_2=[pool(), reshape()])),
    "cast around a pooling": lambda: exported(
        conv5_2=[cast(TensorProto.FLOAT), pool(), cast(TensorProto.FLOAT), flatten()]
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_layers_compute_what_the_graph_computes(graph, path):
    """The network is recognised, and its layers give the logits of the graph."""
    model = GRAPHS[graph]()
    onnx.save_model(model, path, format="protobuf")
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"data": image()[None]})

    assert ("onnx", CONFIG) == recognise(path)
    actual = logits(read_checkpoint(path, "onnx", CONFIG))

    np.testing.assert_allclose(actual, np.asarray(expected).ravel(), rtol=1e-4, atol=1e-5)


def last_softmax(axis: int) -> onnx.ModelProto:
    """Build a graph that ends in a softmax along an axis."""
    return exported(fc8=[helper.make_node("Softmax", [], [], axis=axis)])


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            lambda: with_batch_norm(exported(), training_mode=1),
            "has batch norm behind conv1_1, not as",
        ),
        (lambda: exported(fc6=[cast(TensorProto.INT32)]), "has the operator Cast where Gemm"),
        (lambda: last_softmax(0), "has the operator Softmax where the end is expected"),
        (lambda: without_bias(exported()), "has no bias in conv1_1"),
    ],
)
def test_what_is_not_that_network(model, sentence, path):
    """An operator that changes values is refused by its name."""
    onnx.save_model(model(), path, format="protobuf")

    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(path, "onnx", CONFIG)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_last_softmax(axis, path):
    """It is computed by the serving graph."""
    onnx.save_model(last_softmax(axis), path, format="protobuf")

    assert [*CONFIG.weight_shapes()] == [*read_checkpoint(path, "onnx", CONFIG)]
