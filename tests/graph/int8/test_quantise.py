"""Layers are rounded to whole numbers by the paper's rule, and never leave 32 bits."""

import numpy as np
import pytest

from app.graph.int8.quantise import quantise, row_slices
from app.records import Layer
from app.setup_errors import PrecisionError


def drawn(shape=(5, 4, 3, 3), seed=0):
    """Draw a layer whose outputs have weights of very different sizes."""
    random = np.random.default_rng(seed)
    sizes = (10.0 ** -(np.arange(shape[0]) % 5)).reshape(-1, *[1] * (len(shape) - 1))
    weight = (random.normal(0, 1, shape) * sizes).astype(np.float32)
    return Layer(weight, random.normal(0, 1, shape[0]).astype(np.float32))


@pytest.mark.parametrize("shape", [(5, 4, 3, 3), (5, 36), (200, 3)])
def test_weights_are_off_by_half_a_step_at_most(shape):
    """Each output has its own step: the greatest of its weights is 127 of them."""
    layer = drawn(shape)

    whole = quantise("conv1_2", layer, scale=0.5)

    greatest = np.abs(layer.weight).reshape(len(layer.bias), -1).max(axis=1)
    np.testing.assert_allclose(greatest / 127, whole.scales, rtol=1e-6)
    steps = whole.scales.reshape(-1, *[1] * (len(shape) - 1))
    off = np.abs(whole.weights_in_real(slice(None)) - layer.weight)
    assert np.all(off <= 0.5001 * steps)
    assert np.int8 == whole.weight.dtype
    assert 127 == np.abs(whole.weight.astype(int)).max()


def test_biases_count_in_steps_of_sums():
    """A bias is a number of input steps times weight steps."""
    layer = drawn()

    whole = quantise("conv1_2", layer, scale=0.5)

    expected = np.rint(layer.bias / (0.5 * whole.scales.astype(np.float64)))
    assert np.int32 == whole.bias.dtype
    assert expected.tolist() == whole.bias.tolist()


@pytest.mark.parametrize("weight", [0.0, 1e-30])
def test_an_output_without_weights_keeps_its_bias(weight):
    """Where weights are nothing, or nearly, the bias still fits into 32 bits and keeps its value."""
    layer = Layer(np.full((1, 2, 1, 1), weight, np.float32), np.array([-3.5], np.float32))

    whole = quantise("conv1_2", layer, scale=0.25)

    np.testing.assert_allclose(-3.5, whole.bias * 0.25 * whole.scales.astype(float), rtol=1e-6)


def test_a_layer_of_zeros_stays_one():
    """No weights and no bias give no warnings and no numbers that are not finite."""
    whole = quantise("fc6", Layer(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)), 1.0)

    assert not whole.weight.any()
    assert not whole.bias.any()
    assert np.all(whole.scales > 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_that_could_leave_32_bits_are_refused(sign):
    """66,312 inputs of 255 times weights of 127 are too many; one fewer is not."""
    inputs = (2**31 - 1) // (255 * 127) + 1
    bias = np.zeros(1, np.float32)
    quantise("fc6", Layer(np.full((1, inputs - 1), sign, np.float32), bias), 1.0)

    with pytest.raises(PrecisionError, match=r"^fc6 has sums .* set VGG_PRECISION=float32$"):
        quantise("fc6", Layer(np.full((1, inputs), sign, np.float32), bias), 1.0)


def test_pieces_cover_all_outputs():
    """Every output is in one piece."""
    weight = np.arange(150)

    assert weight.tolist() == [one for some in row_slices(weight) for one in weight[some]]
