"""Nodes keep their order and names of their own; a constant is stored once."""

import numpy as np

from app.graph.node_list import NodeList


def test_names_are_unique_and_tell_the_layer():
    """Two equal nodes have different results, under the name of their layer."""
    nodes = NodeList()
    nodes.scope = "conv1_1"

    first, second = nodes.add("Relu", "x"), nodes.add("Relu", "x")

    assert first != second
    assert [first, second] == [node.name for node in nodes.nodes]
    assert all(name.startswith("conv1_1/Relu") for name in (first, second))
    assert "y" == nodes.add("Relu", first, result="y")


def test_equal_constants_are_one():
    """Of the same type, shape and values; none of these may differ."""
    nodes = NodeList()
    one = nodes.constant(np.zeros((2, 3), np.float32))

    assert one == nodes.constant(np.zeros((2, 3), np.float32))
    assert one != nodes.constant(np.zeros((3, 2), np.float32))
    assert one != nodes.constant(np.ones((2, 3), np.float32))
    assert nodes.integers(1, 2) == nodes.integers(1, 2)
    assert 4 == len(nodes.constants)
