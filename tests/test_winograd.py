"""A lowered convolution is the convolution: against float64, for each shape, as exactly as float32 can."""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.node_list import NodeList
from app.pixel_rows import PixelRows
from app.winograd import GROWTH, Convolution, convolve

POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
BOUND = 1e-5
"""Of the greatest value of the maps; at the sizes of VGG it is up to 3e-6 (docs/performance.md)."""


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
    """The lowered one in ONNX's own interpreter, float32; two images, the second without a light."""
    outputs, inputs = weight.shape[:2]
    side = maps.shape[-1]
    nodes = NodeList()
    layer = Convolution("layer", inputs, outputs, side, pooled)
    rows = convolve(nodes, layer, PixelRows.of_maps(nodes, "maps", inputs, side))
    result = rows.to_maps(nodes, outputs)
    batch = np.stack([maps, np.zeros_like(maps)])
    graph = helper.make_graph(
        nodes.nodes,
        "one",
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, batch.shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [
            *nodes.constants,
            *(numpy_helper.from_array(one, name) for name, one in layer.tensors(weight, bias)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"maps": batch})
    lit, dark = np.asarray(found)
    assert (dark == np.maximum(bias, 0)[:, None, None]).all()
    return lit


def lifelike(inputs, outputs, side, seed):
    """Weights and maps as a trained network has them: smooth kernels, sparse maps with peaks.

    A third of the channels say nothing, kernels share a blob, and a few places of a map are twenty times
    as bright as the rest: what rounding suffers from, and white noise does not have.
    """
    random = np.random.default_rng(seed)
    blob = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    kernels = blob * random.standard_t(4, (outputs, inputs, 1, 1))
    kernels = kernels + 0.3 * random.standard_normal((outputs, inputs, 3, 3))
    kernels *= np.sqrt(2 / (9 * inputs)) / kernels.std()
    maps = np.maximum(random.standard_t(3, (inputs, side, side)), 0) * 10
    maps *= (random.uniform(size=(inputs, 1, 1)) > 1 / 3) * random.lognormal(0, 1, (inputs, 1, 1))
    maps[random.uniform(size=maps.shape) > 0.999] *= 20
    bias = random.standard_normal(outputs)
    return tuple(one.astype(np.float32) for one in (kernels, bias, maps))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("side", [2, 4, 6, 8, 10, 14, 16, 18, 28])
@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (16, 8)])
def test_it_is_the_convolution(channels, side, pooled):
    """Edges, sides that 4 does not divide, one channel or many, few tiles or many, pooled or not."""
    inputs, outputs = channels
    weight, bias, maps = lifelike(inputs, outputs, side, seed=inputs + outputs)

    expected = convolution(weight, bias, maps, pooled=pooled)
    actual = lowered(weight, bias, maps, pooled=pooled)

    assert expected.shape == actual.shape
    assert np.abs(expected - actual).max() <= BOUND * max(expected.max(), 1)


def test_one_wrong_number_shows():
    """The bound above is no blindfold: the middle of one output's kernels off by 0.1 % is beyond."""
    weight, bias, maps = lifelike(16, 8, 28, seed=1)
    expected = convolution(weight, bias, maps, pooled=False)
    weight[3, :, 1, 1] *= np.float32(1.001)

    actual = lowered(weight, bias, maps, pooled=False)

    assert np.abs(expected - actual).max() > BOUND * expected.max()


@pytest.mark.parametrize(("side", "shape"), [(14, (36, 7, 5)), (28, (36, 5, 7))])
def test_transformed_kernels_are_four_times_as_many_numbers(side, shape):
    """36 products in place of 9 weights, on the left for few tiles; rounded once, from float64."""
    weight, bias, _ = lifelike(5, 7, 4, seed=2)

    (_, found), (_, biases) = Convolution("layer", 5, 7, side, pooled=False).tensors(weight, bias)

    assert shape == found.shape
    assert GROWTH * weight.size == found.size
    assert np.float32 == found.dtype == biases.dtype
    g = np.array([[x**power for power in range(3)] for x in POINTS], np.float64)
    g /= np.array([[np.prod([x - other for other in POINTS if other != x])] for x in POINTS])
    g = np.append(g, [[0, 0, 1]], axis=0)
    places = np.einsum("ia,kcab,jb->ijkc", g, weight.astype(np.float64), g).reshape(36, 7, 5)
    once = (places if side == 14 else places.swapaxes(1, 2)).astype(np.float32)
    assert (once == found).mean() > 0.99  # twice rounded, a third of them would be others


def test_a_layer_can_follow_a_layer():
    """The second gathers its windows out of the tiles of the first, with zeros around."""
    first, second = (lifelike(6, 6, 14, seed=seed) for seed in (3, 4))
    nodes = NodeList()
    layers = [Convolution(name, 6, 6, 14, pooled) for name, pooled in (("a", False), ("b", True))]
    rows = PixelRows.of_maps(nodes, "maps", 6, 14)
    for layer in layers:
        rows = convolve(nodes, layer, rows)
    result = rows.to_maps(nodes, 6)
    tensors = [
        numpy_helper.from_array(one, name)
        for layer, (weight, bias, _) in zip(layers, (first, second), strict=True)
        for name, one in layer.tensors(weight, bias)
    ]
    graph = helper.make_graph(
        nodes.nodes,
        "two",
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 6, 14, 14])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [*nodes.constants, *tensors],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"maps": first[2][np.newaxis]})

    (weight, bias, maps), (then_weight, then_bias, _) = first, second
    between = convolution(weight, bias, maps, pooled=False)
    expected = convolution(then_weight, then_bias, between, pooled=True)
    assert np.abs(expected - found[0]).max() <= BOUND * expected.max()
