"""The first layer reads pixels as they are: mean, deviation, channel order and padding stay exact."""

import numpy as np
import pytest

from app.graph.int8.pixels import INSIDE, quantise_pixels
from app.records import Layer, Preprocess

RGB = Preprocess(72, 32, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocess(72, 32, "BGR", (103.939, 116.779, 123.68), (40.0, 50.0, 60.0))


def convolved(weight, bias, x):
    """Convolve one image, [channels, side, side], with zeros around it, in float64."""
    side = x.shape[-1]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    sums = sum(
        np.einsum(
            "oi,ihw->ohw",
            weight[:, :, y, x_].astype(np.float64),
            padded[:, y : y + side, x_ : x_ + side],
        )
        for y in range(3)
        for x_ in range(3)
    )
    return sums + bias[:, np.newaxis, np.newaxis]


def drawn():
    """Draw conv1_1 and an image."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32)
    bias = random.normal(0, 0.3, 16).astype(np.float32)
    return Layer(weight, bias), random.integers(0, 256, (3, 32, 32)).astype(np.uint8)


def both(layer, image, preprocess):
    """Return what the float32 graph's conv1_1 gives, and what the whole numbers give, in its units."""
    order = [0, 1, 2] if preprocess.channels == "RGB" else [2, 1, 0]
    mean, std = (np.array(one).reshape(3, 1, 1) for one in (preprocess.mean, preprocess.std))
    expected = convolved(layer.weight, layer.bias, (image[order] - mean) / std)
    whole = quantise_pixels("conv1_1", layer, preprocess)
    four = np.concatenate([image, np.full((1, *image.shape[1:]), INSIDE, np.uint8)])
    sums = convolved(whole.weight, whole.bias, four)
    return expected, sums * whole.scales[:, np.newaxis, np.newaxis]


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
def test_same_as_normalised_pixels(preprocess):
    """Everywhere, edges and corners included, it is within what rounding weights can do."""
    layer, image = drawn()

    expected, actual = both(layer, image, preprocess)

    assert np.abs(expected - actual).std() < 0.01 * expected.std()
    assert np.abs(expected - actual).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
def test_padding_is_the_mean_colour(preprocess):
    """An image of the mean colour gives the bias; at an edge it is off by half a step for each pixel outside."""
    layer, _ = drawn()
    order = [0, 1, 2] if preprocess.channels == "RGB" else [2, 1, 0]
    means = (124.0, 116.0, 104.0)
    preprocess = Preprocess(72, 32, preprocess.channels, means, preprocess.std)
    image = np.array(means, np.uint8)[order].reshape(3, 1, 1) * np.ones((3, 8, 8), np.uint8)

    expected, actual = both(layer, image, preprocess)

    np.testing.assert_allclose(expected, layer.bias.reshape(-1, 1, 1) * np.ones((1, 8, 8)))
    off = np.abs(expected - actual)
    step = quantise_pixels("conv1_1", layer, preprocess).scales.max()
    assert off[:, 1:-1, 1:-1].max() <= 1.01 * step
    assert off.max() <= (5 * INSIDE / 2 + 1) * step  # five of nine pixels are outside in a corner
