"""Maps become rows and maps again, and what lies outside of them is zero."""

import numpy as np
import onnx.reference
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper

from app.node_list import NodeList
from app.pixel_rows import PixelRows

BATCH = np.arange(1, 2 * 3 * 5 * 5 + 1, dtype=np.float32).reshape(2, 3, 5, 5)
"""Two images, three channels, 5x5; no number twice."""


def run(nodes, result):
    """Run a graph on BATCH in ONNX's own interpreter."""
    graph = helper.make_graph(
        nodes.nodes,
        "rows",
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 3, 5, 5])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        nodes.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"maps": BATCH})
    return found


def test_there_and_back():
    """Nothing is lost, nothing changes its place."""
    nodes = NodeList()

    result = PixelRows.of_maps(nodes, "maps", 3, 5).to_maps(nodes, 3)

    assert_array_equal(BATCH, run(nodes, result))


def test_a_pixel_has_its_channels_side_by_side():
    """Pixels in the shape that is asked for, then images, then channels."""
    nodes = NodeList()
    rows = PixelRows.of_maps(nodes, "maps", 3, 5)

    found = run(nodes, rows.gather(nodes, np.array([[4, 0]]), np.array([[1, 3]])))

    assert (1, 2, 2, 3) == found.shape
    assert_array_equal(BATCH[:, :, 4, 1], found[0, 0])
    assert_array_equal(BATCH[:, :, 0, 3], found[0, 1])


def test_all_around_is_zero():
    """Above, below, at the left and at the right, and far off; never the pixel at the edge."""
    nodes = NodeList()
    rows = PixelRows.of_maps(nodes, "maps", 3, 5)
    y, x = np.array([-1, 5, 2, 2, -9]), np.array([2, 2, -1, 5, 99])

    found = run(nodes, rows.gather(nodes, y, x))

    assert_array_equal(np.zeros((5, 2, 3)), found)
