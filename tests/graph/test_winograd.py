"""A lowered convolution is the convolution: against float64, for each shape, as exactly as float32 can."""

import numpy as np
import pytest

from app.graph.channel_blocks import ChannelBlocks
from app.graph.node_list import NodeList
from app.graph.winograd import GROWTH, Convolution, convolve
from app.runtime.ort import CPU, channel_block, open_graph
from tests.graph.blocked import SHAPES, model_of, run

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


def nodes_of(layers, block):
    """Lower layers, each with the next; the nodes, the name of the result, and the tensors."""
    nodes = NodeList()
    (first, *_), tensors = layers[0], []
    blocks = ChannelBlocks.of_maps(nodes, "maps", first.inputs, first.side, block)
    for layer, weight, bias in layers:
        blocks = convolve(nodes, layer, blocks)
        tensors += layer.tensors(weight, bias)
    return nodes, blocks.to_maps(nodes), tensors


def lowered(weight, bias, maps, *, pooled, block=8):
    """The lowered one in ONNX's own interpreter, float32; two images, the second without a light."""
    outputs, inputs = weight.shape[:2]
    layer = Convolution("layer", inputs, outputs, maps.shape[-1], pooled, block)
    nodes, result, tensors = nodes_of([(layer, weight, bias)], block)

    lit, dark = run(nodes, result, np.stack([maps, np.zeros_like(maps)]), block, tensors)

    np.testing.assert_allclose(
        np.broadcast_to(np.maximum(bias, 0)[:, None, None], dark.shape), dark, atol=1e-6
    )
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
@pytest.mark.parametrize("channels", [(8, 8), (16, 32), (32, 16)])
@pytest.mark.parametrize("block", SHAPES)
def test_it_is_the_convolution(channels, side, pooled, block):
    """Edges, sides that 4 does not divide, one block or many, few tiles or many, pooled or not."""
    inputs, outputs = channels
    if inputs % block:
        inputs = outputs = block
    weight, bias, maps = lifelike(inputs, outputs, side, seed=inputs + outputs)

    expected = convolution(weight, bias, maps, pooled=pooled)
    actual = lowered(weight, bias, maps, pooled=pooled, block=block)

    assert expected.shape == actual.shape
    assert np.abs(expected - actual).max() <= BOUND * max(expected.max(), 1)


@pytest.mark.skipif(not channel_block(), reason="no layout in blocks on this processor")
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("side", [6, 14, 28])
def test_onnxruntime_computes_the_same(side, pooled):
    """By its own operators, in the layout of this processor, for one image and for two."""
    weight, bias, maps = lifelike(32, 48, side, seed=6)
    layer = Convolution("layer", 32, 48, side, pooled, channel_block())
    nodes, result, tensors = nodes_of([(layer, weight, bias)], channel_block())
    model = model_of(nodes, result, ["N", 32, side, side], tensors)
    session = open_graph(model.SerializeToString(), CPU, threads=2)

    expected = convolution(weight, bias, maps, pooled=pooled)
    for images in (maps[np.newaxis], np.stack([np.zeros_like(maps), maps])):
        actual = session.run(None, {"maps": images})[0][-1]

        assert expected.shape == actual.shape
        assert np.abs(expected - actual).max() <= BOUND * expected.max()


def test_one_wrong_number_shows():
    """The bound above is no blindfold: the middle of one output's kernels off by 0.1 % is beyond."""
    weight, bias, maps = lifelike(16, 8, 28, seed=1)
    expected = convolution(weight, bias, maps, pooled=False)
    weight[3, :, 1, 1] *= np.float32(1.001)

    actual = lowered(weight, bias, maps, pooled=False)

    assert np.abs(expected - actual).max() > BOUND * expected.max()


def test_transformed_kernels_are_four_times_as_many_numbers():
    """36 products in place of 9 weights, rounded once, from float64."""
    weight, bias, _ = lifelike(8, 16, 4, seed=2)
    layer = Convolution("layer", 8, 16, 14, pooled=False, block=8)

    (_, found), (_, biases) = layer.tensors(weight, bias)

    assert (36 * 16, 8, 1, 1) == found.shape
    assert (36 * 16,) == biases.shape
    assert GROWTH * weight.size == found.size
    assert np.float32 == found.dtype == biases.dtype
    g = np.array([[x**power for power in range(3)] for x in POINTS], np.float64)
    g /= np.array([[np.prod([x - other for other in POINTS if other != x])] for x in POINTS])
    g = np.append(g, [[0, 0, 1]], axis=0)
    places = np.einsum("ia,kcab,jb->ijkc", g, weight.astype(np.float64), g)
    once = places.astype(np.float32).reshape(36, 2, 8, 8).swapaxes(2, 3)
    assert (once.reshape(found.shape) == found).mean() > 0.99  # twice rounded, a third would differ


@pytest.mark.parametrize("pooled", [False, True])
def test_a_layer_can_follow_a_layer(pooled):
    """The second gathers its windows out of the tiles of the first, with zeros around."""
    sides = (28, 14) if pooled else (14, 14)
    (weight, bias, maps), (then_weight, then_bias, _) = (
        lifelike(16, 16, side, seed=seed) for seed, side in zip((3, 4), sides, strict=True)
    )
    layers = [
        (Convolution("a", 16, 16, sides[0], pooled, 8), weight, bias),
        (Convolution("b", 16, 16, sides[1], pooled=True, block=8), then_weight, then_bias),
    ]
    nodes, result, tensors = nodes_of(layers, 8)

    (found,) = run(nodes, result, maps[np.newaxis], 8, tensors)

    between = convolution(weight, bias, maps, pooled=pooled)
    expected = convolution(then_weight, then_bias, between, pooled=True)
    assert np.abs(expected - found).max() <= BOUND * expected.max()
