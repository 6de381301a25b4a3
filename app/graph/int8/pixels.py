"""The first layer in whole numbers, on the pixels of an image as they are.

conv1_1 is linear, so that mean, deviation and the order of channels go into its weights. What cannot
go into them is the padding: zeros of normalised pixels, that is the mean colour. So a fourth channel,
INSIDE on the image and 0 around it, subtracts the mean where there is something to subtract it from.
"""

from typing import Final

import numpy as np

from app.graph.int8.quantise import WholeLayer, quantise
from app.records import Layer, Preprocess

INSIDE: Final = 255
"""Value of the fourth channel: the greatest, so that its weights are small."""


def quantise_pixels(name: str, layer: Layer, preprocess: Preprocess) -> WholeLayer:
    """Round the first layer, for uint8 RGB pixels with a fourth channel.

    The mean is that of the rounded weights. What the fourth channel is off by after rounding, the
    bias takes back wherever the whole kernel is inside; at the edge it is off by up to half a step.

    Returns:
        A layer with a weight int8 [out, 4, height, width], for inputs of scale 1.
    """
    order = [0, 1, 2] if preprocess.channels == "RGB" else [2, 1, 0]
    std, mean = (
        np.array(values, np.float64)[order].reshape(1, 3, 1, 1)
        for values in (preprocess.std, preprocess.mean)
    )
    colours = layer.weight[:, order] / std
    inside = -(colours * mean).sum(axis=1, keepdims=True) / INSIDE
    weight = np.concatenate([colours, inside], axis=1).astype(np.float32)
    rounded = quantise(name, Layer(weight, layer.bias), 1)
    means = (rounded.weight[:, :3] * mean).sum(axis=1)
    rounded.weight[:, 3] = np.clip(np.rint(-means / INSIDE), -127, 127)
    left = means + rounded.weight[:, 3].astype(np.float64) * INSIDE
    rounded.bias[:] -= np.rint(left.sum(axis=(1, 2))).astype(np.int32)
    return rounded
