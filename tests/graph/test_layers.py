"""Which layers are lowered, how maps pass from one way to the other, and the layers after them."""

import json
from pathlib import Path

import numpy as np
import onnx.reference
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.graph.channel_blocks import BLOCKED
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.layers import (
    add_convolutions,
    add_dense,
    add_dense_for_cpu,
    in_planes,
    lowered_layers,
)
from app.graph.node_list import NodeList
from app.graph.vgg import CONFIGURATIONS, VggConfig

CONFIG = VggConfig("A", group_channels=(1, 1, 1, 1, 3), hidden=(6, 6), side=64)
LAYERS = [row for row in CONFIG.layers() if row.kind == "fully connected"]
RANDOM = np.random.default_rng(5)
TENSORS = {
    f"{row.name}_{part}": RANDOM.standard_normal(shape, dtype=np.float32)
    for row in LAYERS
    for part, shape in (("weight", row.weight_shape), ("bias", row.output_shape))
}


def expected(values):
    """The same in numpy and float64."""
    for row in LAYERS:
        weight, bias = (TENSORS[f"{row.name}_{part}"] for part in ("weight", "bias"))
        values = values.astype(np.float64) @ weight.T.astype(np.float64) + bias
        if row.name != "fc8":
            values = np.maximum(values, 0)
    return values


def model(add):
    """A graph of these layers alone."""
    nodes = NodeList()
    result = add(nodes, LAYERS, "flat")
    graph = helper.make_graph(
        nodes.nodes,
        "dense",
        [helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 12])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["N", 1000])],
        [*nodes.constants, *(numpy_helper.from_array(one, name) for name, one in TENSORS.items())],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("add", [add_dense, add_dense_for_cpu])
def test_it_is_the_arithmetic_of_the_paper(add, images):
    """In onnxruntime and in ONNX's own interpreter."""
    values = RANDOM.standard_normal((images, 12), dtype=np.float32)
    graph = model(add)

    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for run in (session.run, onnx.reference.ReferenceEvaluator(graph).run):
        (found,) = map(np.asarray, run(None, {"flat": values}))
        assert (images, 1000) == found.shape
        np.testing.assert_allclose(expected(values), found, rtol=1e-4, atol=1e-5)


def test_weights_stand_on_the_left_for_several_images():
    """And on the right for one, which is the other way: the right matrix is packed for each batch."""
    (choice,) = (node for node in model(add_dense_for_cpu).graph.node if node.op_type == "If")
    ways = {attribute.name: attribute.g.node for attribute in choice.attribute}
    weights = [f"{row.name}_weight" for row in LAYERS]

    one = [node.input[1] for node in ways["then_branch"] if node.op_type == "Gemm"]
    several = [node.input[0] for node in ways["else_branch"] if node.op_type == "MatMul"]

    assert weights == one == several


@pytest.mark.parametrize(("images", "way"), [(1, "Gemm"), (2, "MatMul"), (3, "MatMul")])
def test_the_number_of_images_decides(tmp_path, images, way):
    """Onnxruntime's own profile shows which nodes it ran."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "run")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model(add_dense_for_cpu).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    session.run(None, {"flat": np.zeros((images, 12), np.float32)})

    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = {event["args"].get("op_name") for event in events if "args" in event}
    assert {way} == ran & {"Gemm", "MatMul"}


def test_no_weight_is_there_twice():
    """Both branches use the same tensors, and neither needs a large constant."""
    assert {f"{row.name}_{part}" for row in LAYERS for part in ("weight", "bias")} | {
        "constant_0"  # the number of images that is told apart
    } == {one.name for one in model(add_dense_for_cpu).graph.initializer}


def operators(configuration, plan):
    """Name the operators of all convolutions and pooling of a network, in order."""
    config = VggConfig(configuration, group_channels=(16, 16, 16, 16, 16), side=64)
    layers = [row for row in config.layers() if row.kind != "fully connected"]
    nodes = NodeList()
    maps = add_convolutions(nodes, layers, lowered_layers(config, plan), "pixels")
    in_planes(nodes, maps)
    return [
        "blocked" if node.domain == BLOCKED and node.op_type == "Conv" else node.op_type
        for node in nodes.nodes
    ]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_direct_is_plain_onnx(configuration):
    """A convolution with its ReLU, pooling, and nothing else."""
    found = operators(configuration, DIRECT)

    assert {"Conv", "Relu", "MaxPool"} == set(found)
    assert 5 == found.count("MaxPool")


@pytest.mark.parametrize(("first", "kept"), [("conv2_1", 2), ("conv4_1", 7)])
def test_from_a_layer_on_all_are_lowered(first, kept):
    """Maps are put into blocks once, and taken out of them once; pooling goes into the convolutions."""
    found = operators("D", ConvPlan(first, 16))

    assert kept == found.count("Conv")
    assert 13 - kept == found.count("blocked")
    assert 1 == found.count("ReorderInput")
    assert 5 == found.count("MaxPool") + found.count("ReduceMax")


def test_what_cannot_be_lowered_comes_between():
    """The 1x1 kernels of configuration C: maps leave their blocks for them, and come back."""
    found = operators("C", ConvPlan("conv3_1", 16))

    assert 6 == found.count("blocked")
    assert 3 == found.count("ReorderInput")
    assert 5 == found.count("MaxPool") + found.count("ReduceMax")


def test_layers_know_their_shape():
    """Of the true VGG-16: channels, side, pooling and block."""
    layers = lowered_layers(VggConfig("D"), ConvPlan("conv2_1", 16))

    assert ["conv2_1", "conv2_2", "conv3_1"] == list(layers)[:3]
    one = layers["conv3_3"]
    assert (256, 256, 56, True, 16) == (
        one.inputs,
        one.outputs,
        one.side,
        one.pooled,
        one.block,
    )
    assert not layers["conv3_2"].pooled
