"""Even out what is hard for whole numbers, without changing what a network computes.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
arXiv 1906.04721, sections 4.1 and 4.2.
"""

from collections.abc import Callable

import numpy as np

from app.graph.int8.calibration import Seen
from app.graph.int8.quantise import row_slices
from app.records import Layer, Tensor


def equalise(layer: Layer, following: Layer, seen: Seen) -> tuple[Layer, Layer, Seen]:
    """Even out the channels between two layers.

    ReLU is positively homogeneous: a channel may be divided by any factor above 0 if the weights that
    read it are multiplied by it. With the factor sqrt(r1 / r2) the largest weight that makes a channel,
    r1, and the largest that reads it, r2, become the same. So it no longer matters how a training, or
    a batch norm that was folded, has shared a factor between the two.

    Factors from the largest activations in place of r1 did worse: a channel that is quiet on the few
    photos that were seen becomes loud, and is then cut off on others (docs/int8.md).

    Args:
        layer: The first; its outputs are channels.
        following: The layer that reads them, possibly after pooling; a fully connected one after a
            convolution reads several values of each channel, one after the other.
        seen: What was seen between them.

    Returns:
        The same three, of a network that computes the same.
    """
    channels = len(layer.bias)
    reading = following.weight.reshape(len(following.weight), channels, -1)
    makes = _greatest(layer.weight.reshape(channels, -1), axis=1)
    reads = _greatest(reading, axis=(0, 2))
    alive = (makes > 0) & (reads > 0)
    ones = np.ones_like(makes)
    factors: Tensor = np.sqrt(np.divide(makes, reads, out=ones, where=alive))
    column = factors.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return (
        Layer(layer.weight / column, layer.bias / factors),
        Layer((reading * factors[:, np.newaxis]).reshape(following.weight.shape), following.bias),
        Seen(_divided(seen.maxima, factors), _divided(seen.means, factors)),
    )


def corrected_bias(layer: Layer, rounded: Callable[[slice], Tensor], means: Tensor) -> Tensor:
    """Return the bias with which the mean of each output stays as it was.

    What rounding does to the weights, times the mean inputs, is what it adds to an output on average.
    The paper takes the means from batch norm; here they are those of the photos. At the edge of a map
    the zeros around it count as pixels.

    Args:
        layer: The layer.
        rounded: Returns the weights that are used in place of its own, float32, for some outputs.
        means: float32 [channels] or [inputs], of what it reads.
    """
    shift = np.empty_like(layer.bias)
    for rows in row_slices(layer.weight):
        error = rounded(rows) - layer.weight[rows]
        shift[rows] = error.reshape(len(error), len(means), -1).sum(axis=2) @ means
    return layer.bias - shift


def _greatest(weights: Tensor, axis: int | tuple[int, int]) -> Tensor:
    """Return the largest absolute values, without a copy of all weights."""
    greatest: Tensor = np.maximum(weights.max(axis=axis), -weights.min(axis=axis))
    return greatest


def _divided(values: Tensor, factors: Tensor) -> Tensor:
    """Divide values of channels, or of units that are flattened channel first."""
    divided: Tensor = values.reshape(len(factors), -1) / factors[:, np.newaxis]
    return divided.ravel()
