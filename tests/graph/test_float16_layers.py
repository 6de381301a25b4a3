"""A VGG in the order that suits a GPU computes what it computes in the paper's order."""

from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.graph.float16_layers import WIDTH, add_convolutions_in_float16, bias_maps, widened
from app.graph.layers import add_convolutions, in_planes
from app.graph.node_list import NodeList
from app.graph.vgg import CONFIGURATIONS, VggConfig

RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.standard_normal((2, 3, 64, 64), dtype=np.float32)


def layers_of(configuration):
    config = VggConfig(configuration, group_channels=(3, 4, 5, 6, 7), hidden=(8, 8), side=64)
    return [row for row in config.layers() if row.kind != "fully connected"]


def tensors_of(layers):
    """Random weights and biases, with the first weight in both widths."""
    made = {}
    for row in layers:
        if row.kind == "convolution":
            weight = RANDOM.standard_normal(row.weight_shape, dtype=np.float32)
            made[f"{row.name}_weight"] = weight / np.float32(np.sqrt(weight[0].size / 2))
            bias = RANDOM.standard_normal(row.weight_shape[0], dtype=np.float32)
            made[f"{row.name}_bias"] = bias
    made["conv1_1_weight_wide"] = widened(made["conv1_1_weight"])
    protos = {name: numpy_helper.from_array(one, name) for name, one in made.items()}
    return protos | bias_maps(protos, layers)


def compute(nodes, result, tensors):
    """Run nodes on the images."""
    graph = helper.make_graph(
        nodes.nodes,
        "maps",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [2, 3, 64, 64])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [*nodes.constants, *tensors.values()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": IMAGES})[0]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_order_changes_no_map(configuration):
    """Each configuration of the paper gives the maps that the paper's order gives."""
    layers = layers_of(configuration)
    tensors = tensors_of(layers)
    ours, theirs = NodeList(), NodeList()

    result = add_convolutions_in_float16(ours, layers, "pixels")
    expected = in_planes(theirs, add_convolutions(theirs, layers, {}, "pixels"))

    maps = compute(ours, result, tensors)
    assert maps.max() > 0.1, "the maps are not all zero"
    np.testing.assert_allclose(compute(theirs, expected, tensors), maps, rtol=0, atol=1e-5)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_bias_and_relu_see_a_quarter_of_the_values(configuration):
    """A pooling comes right after its convolution."""
    nodes = NodeList()

    add_convolutions_in_float16(nodes, layers_of(configuration), "pixels")

    before = [one.op_type for one, two in pairwise(nodes.nodes) if two.op_type == "MaxPool"]
    assert ["Conv"] * 5 == before
    assert all(len(node.input) == 2 for node in nodes.nodes if node.op_type == "Conv")


def test_maps_that_are_kept_are_whole():
    """A pooling after a convolution whose maps something else reads is its last step."""
    layers = layers_of("D")
    tensors = tensors_of(layers)
    ours, theirs = NodeList(), NodeList()

    add_convolutions_in_float16(ours, layers, "pixels", kept={"conv2_2", "conv5_3"})
    add_convolutions(theirs, layers, {}, "pixels")

    before = [one.op_type for one, two in pairwise(ours.nodes) if two.op_type == "MaxPool"]
    assert ["Conv", "Relu", "Conv", "Conv", "Relu"] == before
    for maps in ("conv2_2_relu", "conv5_3_relu"):
        expected, actual = compute(theirs, maps, tensors), compute(ours, maps, tensors)
        np.testing.assert_allclose(expected, actual, rtol=0, atol=1e-5)


def test_biases_are_not_stored_twice():
    """A bias as a map is the same place in the same file."""
    layers = layers_of("A")
    tensors = {f"{row.name}_bias": TensorProto(dims=[5]) for row in layers}
    tensors["conv2_1_bias"].external_data.add(key="offset", value="4096")

    maps = bias_maps(tensors, layers)

    assert [5, 1, 1] == list(maps["conv2_1_bias_map"].dims)
    assert "4096" == maps["conv2_1_bias_map"].external_data[0].value
    assert [5] == list(tensors["conv2_1_bias"].dims)


def test_added_channels_weigh_nothing():
    """The first weight has zeros for the channels that no image has."""
    weight = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float16)

    wide = widened(weight)

    assert (4, WIDTH, 3, 3) == wide.shape
    assert np.array_equal(weight, wide[:, :3])
    assert not wide[:, 3:].any()
