"""One layer in whole numbers: int8 weights with a scale for each output, int32 biases.

A real value is a scale times a whole number. Activations are uint8 with one scale for all and zero at
0, since a ReLU is before them; so the layer's own ReLU is the lower end of the range of its result.
Sums are int32: the scale of an output's sums is that of its inputs times that of its weights.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, arXiv 1712.05877, section 2; a scale for each output channel: Krishnamoorthi, arXiv 1806.08342.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.records import Layer, Tensor
from app.setup_errors import PrecisionError

ACTIVATION_MOST: Final = 255
_WEIGHT_MOST: Final = 127
"""-128 stays unused, so that the range has its middle at 0."""
_SUM_MOST: Final = 2**31 - 1
_BIAS_MOST: Final = 2**30
_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class WholeLayer:
    """A layer in whole numbers.

    Attributes:
        weight: int8, as in `Layer`.
        scales: float32 [out], positive: of the weights of each output.
        bias: int32 [out], in units of the scale of the inputs times `scales`.
    """

    weight: NDArray[np.int8]
    scales: Tensor
    bias: NDArray[np.int32]

    def weights_in_real(self, rows: slice) -> Tensor:
        """Return the weights that are really used, float32, of some outputs."""
        weight = self.weight[rows]
        return weight * _as_column(self.scales[rows], weight.ndim)


def quantise(name: str, layer: Layer, scale: float) -> WholeLayer:
    """Round a layer whose inputs have a scale.

    Raises:
        PrecisionError: If its sums could leave int32, for any inputs.
    """
    rows = layer.weight.reshape(len(layer.weight), -1)
    greatest = np.maximum(rows.max(axis=1), -rows.min(axis=1)).astype(np.float64)
    # Where all weights are tiny, the bias decides: it has to fit into 32 bits.
    scales = np.maximum(greatest / _WEIGHT_MOST, np.abs(layer.bias) / scale / _BIAS_MOST)
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    weight = np.empty(layer.weight.shape, np.int8)
    for some in row_slices(weight):
        column = _as_column(scales[some], weight.ndim)
        weight[some] = np.rint(layer.weight[some] / column)
    bias = np.rint(layer.bias / (scales.astype(np.float64) * scale)).astype(np.int64)
    _check_sums(name, weight, bias)
    return WholeLayer(weight, scales, bias.astype(np.int32))


def row_slices(weight: NDArray[np.generic]) -> Iterator[slice]:
    """Cut the outputs of a weight into pieces: fc6 has 411 MB, and temporary copies as many."""
    for start in range(0, len(weight), _ROWS):
        yield slice(start, start + _ROWS)


def _check_sums(name: str, weight: NDArray[np.int8], bias: NDArray[np.int64]) -> None:
    for some in row_slices(weight):
        rows = weight[some].reshape(len(weight[some]), -1)
        for sign in (1, -1):
            parts = np.maximum(sign * rows, 0).sum(axis=1, dtype=np.int64)
            sums = parts * ACTIVATION_MOST + np.maximum(sign * bias[some], 0)
            if sums.max() > _SUM_MOST:
                raise PrecisionError(
                    f"{name} has sums that could leave 32 bits: set VGG_PRECISION=float32"
                )


def _as_column(scales: Tensor, dimensions: int) -> Tensor:
    return scales.reshape(-1, *[1] * (dimensions - 1))
