"""A lowered convolution is the convolution: against float64, for each shape, as exactly as float32 can."""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.node_list import NodeList
from app.winograd import GROWTH, Convolution, convolve, transformed

BOUND = 1e-5
"""Of the greatest value of the maps; at the sizes of VGG it is up to 7e-6 (docs/performance.md)."""


def convolution(weight, bias, maps, *, pooled):
    """The same in numpy and float64: zeros around, ReLU, pooling; [K, H, W] from [C, H, W]."""
    padded = np.pad(maps.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    height, width = maps.shape[1:]
    sums = bias.astype(np.float64)[:, None, None] + sum(
        np.einsum(
            "kc,chw->khw",
            weight[:, :, y, x].astype(np.float64),
            padded[:, y : y + height, x : x + width],
            optimize=True,
        )
        for y in range(3)
        for x in range(3)
    )
    sums = np.maximum(sums, 0)
    if pooled:
        sums = sums.reshape(len(sums), height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return sums


def lowered(weight, bias, maps, *, pooled):
    """The lowered one in ONNX's own interpreter, float32."""
    outputs, inputs = weight.shape[:2]
    height, width = maps.shape[1:]
    nodes = NodeList()
    layer = Convolution("weight", "bias", inputs, outputs, width, pooled)
    below = -height % 4 + 1
    result = convolve(nodes, layer, "maps", above=1, below=below)
    graph = helper.make_graph(
        nodes.nodes,
        "one",
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, maps.shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [
            *nodes.constants,
            numpy_helper.from_array(transformed(weight), "weight"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"maps": maps})
    return np.asarray(found)[0, :, : height // (2 if pooled else 1)]


def lifelike(inputs, outputs, height, width, seed):
    """Weights and maps as a trained network has them: smooth kernels, sparse maps with peaks.

    A third of the channels say nothing, kernels share a blob, and a few places of a map are twenty times
    as bright as the rest: what rounding suffers from, and white noise does not have.
    """
    random = np.random.default_rng(seed)
    blob = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    kernels = blob * random.standard_t(4, (outputs, inputs, 1, 1))
    kernels = kernels + 0.3 * random.standard_normal((outputs, inputs, 3, 3))
    kernels *= np.sqrt(2 / (9 * inputs)) / kernels.std()
    maps = np.maximum(random.standard_t(3, (inputs, height, width)), 0) * 10
    maps *= (random.uniform(size=(inputs, 1, 1)) > 1 / 3) * random.lognormal(0, 1, (inputs, 1, 1))
    maps[random.uniform(size=maps.shape) > 0.999] *= 20
    bias = random.standard_normal(outputs)
    return tuple(one.astype(np.float32) for one in (kernels, bias, maps))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (8, 4), (6, 14), (14, 14), (28, 28), (2, 30), (10, 6)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (16, 8)])
def test_it_is_the_convolution(channels, size, pooled):
    """Edges, sides that 4 does not divide, one channel or many, pooled or not."""
    (inputs, outputs), (height, width) = channels, size
    weight, bias, maps = lifelike(inputs, outputs, height, width, seed=inputs + outputs)

    expected = convolution(weight, bias, maps, pooled=pooled)
    actual = lowered(weight, bias, maps, pooled=pooled)

    assert expected.shape == actual.shape
    assert np.abs(expected - actual).max() <= BOUND * max(expected.max(), 1)


def test_one_wrong_number_shows():
    """The bound above is no blindfold: the middle of one output's kernels off by 0.1 % is beyond."""
    weight, bias, maps = lifelike(16, 8, 28, 28, seed=1)
    expected = convolution(weight, bias, maps, pooled=False)
    weight[3, :, 1, 1] *= np.float32(1.001)

    actual = lowered(weight, bias, maps, pooled=False)

    assert np.abs(expected - actual).max() > BOUND * expected.max()


def test_transformed_kernels_are_four_times_as_many_numbers():
    """36 products in place of 9 weights, whatever the channels; rounded once, from float64."""
    weight, _, _ = lifelike(5, 7, 4, 4, seed=2)

    found = transformed(weight)

    assert (36, 7, 5) == found.shape
    assert GROWTH * weight.size == found.size
    assert np.float32 == found.dtype
    corner = weight[:, :, 0, 0].astype(np.float64) / (3 / 4 * 3 / 2) ** 4  # the point 0, twice
    np.testing.assert_allclose(corner, found[0], rtol=1e-7)
