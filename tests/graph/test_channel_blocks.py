"""Maps go into blocks and come back, and everything outside them is zero."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.graph.channel_blocks import ChannelBlocks
from app.graph.node_list import NodeList
from app.runtime.ort import CPU, channel_block, open_graph
from tests.graph.blocked import SHAPES, in_blocks, model_of, run

SIDE = 5
CHANNELS = 32
BATCH = np.arange(1, 2 * CHANNELS * SIDE**2 + 1, dtype=np.float32).reshape(2, CHANNELS, SIDE, SIDE)
"""Two images, 5x5 pixels; no number twice."""


def blocks_of(nodes, block):
    """Put BATCH into blocks."""
    return ChannelBlocks.of_maps(nodes, "maps", CHANNELS, SIDE, block)


@pytest.mark.parametrize("block", SHAPES)
def test_there_and_back(block):
    """Nothing is lost, nothing changes its place."""
    nodes = NodeList()

    result = blocks_of(nodes, block).to_maps(nodes)

    assert_array_equal(BATCH, run(nodes, result, BATCH, block))


@pytest.mark.skipif(not channel_block(), reason="no layout in blocks on this processor")
def test_onnxruntime_understands_the_same():
    """Its own operator and layout, of this processor, for one image and for two."""
    nodes = NodeList()
    result = blocks_of(nodes, channel_block()).to_maps(nodes)
    model = model_of(nodes, result, ["N", CHANNELS, SIDE, SIDE])
    session = open_graph(model.SerializeToString(), CPU, threads=1)

    for images in (BATCH, BATCH[:1]):
        (found,) = session.run(None, {"maps": images})

        assert_array_equal(images, found)


@pytest.mark.parametrize("block", SHAPES)
def test_channels_of_a_block_lie_side_by_side(block):
    """Pixels come in the shape of y and x; then blocks, images, channels of a block."""
    nodes = NodeList()
    blocks = blocks_of(nodes, block)

    result = blocks.gather(nodes, np.array([[4, 0]]), np.array([[1, 3]]))
    found = run(nodes, result, BATCH, block)

    assert (1, CHANNELS // block, 2, 2, block) == found.shape
    for pixel, (y, x) in enumerate([(4, 1), (0, 3)]):
        for number in range(CHANNELS // block):
            channels = slice(number * block, (number + 1) * block)
            assert_array_equal(BATCH[:, channels, y, x], found[0, number, pixel])


@pytest.mark.parametrize("block", SHAPES)
def test_all_around_is_zero(block):
    """Above, below, at the left and at the right, and far off; never the pixel at the edge."""
    nodes = NodeList()
    y, x = np.array([-1, 5, 2, 2, -9]), np.array([2, 2, -1, 5, 99])

    found = run(nodes, blocks_of(nodes, block).gather(nodes, y, x), BATCH, block)

    assert_array_equal(np.zeros((CHANNELS // block, 5, 2, block)), found)


def test_rows_are_as_many_as_it_says():
    """All pixels' blocks and one of zeros, which a graph that takes them has to know."""
    nodes = NodeList()
    blocks = blocks_of(nodes, 8)

    found = run(nodes, blocks.value, BATCH, 8)

    assert (blocks.rows, 2, 8) == found.shape
    assert_array_equal(in_blocks(BATCH, 8)[1].reshape(-1, 8)[7], found[7, 1])
    assert not found[blocks.zeros].any()
