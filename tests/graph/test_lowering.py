"""Which layers are lowered, and how maps pass from one way to the other."""

import pytest

from app.graph.channel_blocks import BLOCKED
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.lowering import add_convolutions, in_planes, lowered_layers
from app.graph.node_list import NodeList
from app.graph.vgg import CONFIGURATIONS, VggConfig


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
