"""Untrained weights of the true size, for trying the service out."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from app.graph.vgg import VggConfig
from app.records import Layer

SEED: Final = 2014


def untrained_layers(config: VggConfig) -> Iterator[tuple[str, Layer]]:
    """Draw the layers of a network, one at a time, in order; the result is always the same.

    Weights are normal with variance 2 / inputs, which keeps activations of the same size in all
    layers (He et al., arXiv 1502.01852); biases are zero.
    """
    generator = np.random.default_rng(SEED)
    for name, shape in config.weight_shapes().items():
        inputs = int(np.prod(shape[1:]))
        weight = generator.standard_normal(shape, dtype=np.float32)
        weight *= np.float32((2 / inputs) ** 0.5)
        yield name, Layer(weight=weight, bias=np.zeros(shape[0], np.float32))
