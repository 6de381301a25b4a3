"""Pixels become what the weights expect: in their order of channels, minus mean, over std."""

import numpy as np
import onnx
import pytest

from app.graph.normalize import preprocess_nodes
from app.records import Preprocess
from tests.graph.test_serving_graph import interpret


@pytest.mark.parametrize(
    ("channels", "planes"),
    [("RGB", [(10 - 1) / 2, (20 - 3) / 4, (40 - 5) / 8]), ("BGR", [39 / 2, (20 - 3) / 4, 5 / 8])],
)
def test_pixels_are_normalised_once_in_the_order_of_the_weights(channels, planes):
    """Red 10, green 20, blue 40 become (pixel - mean) / std, blue first where it has to be."""
    preprocess = Preprocess(4, 4, channels, (1, 3, 5), (2, 4, 8))
    nodes, constants = preprocess_nodes(preprocess, "image", "result")
    graph = onnx.helper.make_graph(
        nodes,
        "preprocessing",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["N", 4, 4, 3])],
        [onnx.helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, ["N", 3, 4, 4])],
        constants,
    )
    image = np.full((1, 4, 4, 3), (10, 20, 40), np.uint8)

    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    result = interpret(model, image)

    assert (1, 3, 4, 4) == result.shape
    assert planes == result[0, :, 0, 0].tolist() == result[0, :, 3, 3].tolist()
