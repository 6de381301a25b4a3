"""Equalisation changes no answer and evens out channels; corrected biases keep means."""

import numpy as np
import pytest

from app.graph.int8.calibration import Seen
from app.graph.int8.equalise import corrected_bias, equalise
from app.records import Layer


def drawn(shape, seed):
    """Draw a layer whose outputs have weights of very different sizes."""
    random = np.random.default_rng(seed)
    sizes = np.exp(random.normal(0, 2, shape[0])).reshape(-1, *[1] * (len(shape) - 1))
    weight = (random.normal(0, 1, shape) * sizes).astype(np.float32)
    return Layer(weight, random.normal(0, 1, shape[0]).astype(np.float32))


def seen(values):
    """Return what was seen of values, [photos, channels]."""
    return Seen(values.max(axis=0), values.mean(axis=0))


def two(first, second, x):
    """Compute two layers of 1x1 kernels or dense ones, a ReLU between them; also what is between."""
    weights = [layer.weight.reshape(len(layer.bias), -1) for layer in (first, second)]
    between = np.maximum(x @ weights[0].T + first.bias, 0)
    return between, between @ weights[1].T + second.bias


@pytest.mark.parametrize("kernel", [(1, 1), ()])
def test_the_network_computes_the_same(kernel):
    """The function of two layers stays the same, and what was seen is what is then seen."""
    first, second = drawn((30, 20, *kernel), 0), drawn((10, 30, *kernel), 1)
    x = np.random.default_rng(2).normal(0, 1, (50, 20)).astype(np.float32)
    between, expected = two(first, second, x)

    one, other, now = equalise(first, second, seen(between))

    between, actual = two(one, other, x)
    assert np.float32 == actual.dtype
    assert np.abs(expected - actual).max() <= 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(now.maxima, between.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(now.means, between.mean(axis=0), rtol=1e-4)


def test_the_weights_that_make_and_read_a_channel_become_alike():
    """The paper's optimum: both have the same largest weight in every channel."""
    first, second = drawn((30, 20, 3, 3), 0), drawn((10, 30, 3, 3), 1)

    one, other, _ = equalise(first, second, seen(np.ones((1, 30), np.float32)))

    makes = np.abs(one.weight).max(axis=(1, 2, 3))
    reads = np.abs(other.weight).max(axis=(0, 2, 3))
    np.testing.assert_allclose(makes, reads, rtol=1e-5)


def test_a_dense_layer_reads_all_pixels_of_a_channel():
    """Before fc6 the four pixels of a channel share its factor, channel first."""
    first, second = drawn((3, 5, 3, 3), 0), drawn((6, 12), 1)
    maxima = np.arange(1, 13, dtype=np.float32)

    one, other, now = equalise(first, second, Seen(maxima, maxima / np.float32(2)))

    factors = first.bias / one.bias
    np.testing.assert_allclose(other.weight, second.weight * factors.repeat(4), rtol=1e-5)
    np.testing.assert_allclose(now.maxima, maxima / factors.repeat(4), rtol=1e-5)
    np.testing.assert_allclose(now.means, maxima / 2 / factors.repeat(4), rtol=1e-5)


def test_dead_channels_are_left_alone():
    """A channel that nothing makes, or nothing reads, has the factor 1."""
    first, second = drawn((3, 4), 0), drawn((2, 3), 1)
    first.weight[0], second.weight[:, 1] = 0, 0
    ones = np.ones(3, np.float32)

    one, other, _ = equalise(first, second, Seen(ones, ones))

    assert first.bias[:2].tolist() == one.bias[:2].tolist()
    assert np.isfinite(one.weight).all()
    assert np.isfinite(other.weight).all()


@pytest.mark.parametrize(("shape", "inputs"), [((6, 8, 1, 1), 8), ((100, 8), 8)])
def test_a_corrected_bias_keeps_the_means(shape, inputs):
    """With rounded weights and the corrected bias, the mean outputs are those of the exact weights."""
    layer = drawn(shape, 0)
    x = np.random.default_rng(1).uniform(0, 4, (200, inputs)).astype(np.float32)
    rounded = np.round(layer.weight, 1)

    bias = corrected_bias(layer, rounded.__getitem__, x.mean(axis=0))

    weights = [one.reshape(len(layer.bias), -1) for one in (layer.weight, rounded)]
    expected = (x @ weights[0].T + layer.bias).mean(axis=0)
    np.testing.assert_allclose(expected, (x @ weights[1].T + bias).mean(axis=0), atol=1e-3)
    assert np.abs(bias - layer.bias).max() > 0.01


def test_a_mean_stands_for_all_places_of_a_kernel():
    """For a convolution the mean of a channel is multiplied by the errors of the whole kernel."""
    layer = Layer(np.ones((1, 2, 3, 3), np.float32), np.zeros(1, np.float32))
    rounded = layer.weight.copy()
    rounded[0, 0] += 0.5
    rounded[0, 1] -= 0.25

    bias = corrected_bias(layer, rounded.__getitem__, np.array([2, 4], np.float32))

    assert [-(0.5 * 9 * 2 - 0.25 * 9 * 4)] == bias.tolist()
