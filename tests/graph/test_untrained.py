"""Weights that never saw an image are always the same, and keep activations in range."""

import numpy as np
import pytest

from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig

SMALL = VggConfig("C", group_channels=(16, 20, 24, 28, 32), hidden=(64, 64), side=64)


def test_layers_come_in_order_with_their_shapes():
    """Every layer of the network comes once, in its order, float32, with a bias of zero."""
    layers = dict(untrained_layers(SMALL))

    assert list(SMALL.weight_shapes().items()) == [(n, x.weight.shape) for n, x in layers.items()]
    assert {np.dtype(np.float32)} == {
        part.dtype for layer in layers.values() for part in (layer.weight, layer.bias)
    }
    assert [len(x.weight) for x in layers.values()] == [len(x.bias) for x in layers.values()]
    assert not any(layer.bias.any() for layer in layers.values())


def test_same_numbers_each_time():
    """Two draws give the same bits: an untrained service answers the same everywhere."""
    first, second = dict(untrained_layers(SMALL)), dict(untrained_layers(SMALL))

    assert all(np.array_equal(first[name].weight, second[name].weight) for name in first)


def test_layers_differ_from_each_other():
    """fc6 and fc7 do not begin with the same numbers."""
    layers = dict(untrained_layers(SMALL))

    assert not np.array_equal(layers["fc6"].weight.ravel()[:64], layers["fc7"].weight.ravel()[:64])


@pytest.mark.parametrize("name", ["conv3_2", "conv4_3", "fc6", "fc8"])
def test_variance_is_2_over_inputs(name):
    """He et al., so that ReLU layers neither blow activations up nor let them vanish."""
    weight = dict(untrained_layers(SMALL))[name].weight
    inputs = weight[0].size

    assert 2 == pytest.approx(inputs * weight.var(dtype=np.float64), rel=0.2)
    assert 0 == pytest.approx(weight.mean(dtype=np.float64) * inputs**0.5, abs=0.2)


def test_one_layer_at_a_time():
    """Layers are drawn one at a time, so that the true size does not need 553 MB at once."""
    layers = untrained_layers(VggConfig("E"))

    name, layer = next(layers)

    assert ("conv1_1", (64, 3, 3, 3)) == (name, layer.weight.shape)
