"""Where in an image a VGG sees a class: a second graph, on the weights of the serving graph.

The logit z of a class is computed from P, the maps after the last pooling, by three fully connected
layers. Which of their units are above 0 is known after a run, and with those they are one linear map:

    z = sum of g * P over channels and cells + constant     v7 = W8[class], where fc7 is above 0
    g = v6 W6                                               v6 = v7 W7, where fc6 is above 0
    constant = b8[class] + v7 b7 + v6 b6

So the gradient g takes two more products of matrices, for all classes of all images together, and
no automatic differentiation. `cells` is that sum, for each cell of P.

Grad-CAM (Selvaraju et al., arXiv 1610.02391) weighs the channels of a layer by their mean gradient. At
the last convolution that is a sum of g over the cells, since max-pooling passes each gradient on to
one pixel; so it needs no more of W6 than its sums over the cells, which are stored. LayerCAM (Jiang et
al., IEEE TIP 2021) weighs each pixel by its own gradient where that is positive. For earlier layers the
gradient goes back through the convolutions between, with their own weights.

The logits are those as trained: a temperature (app/graph/serving_graph.py) is behind them.

The graph takes pairs of an image and a class. Its other inputs are outputs of the serving graph.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from app.graph.float16 import Stored
from app.graph.vgg import LAST_LAYER, LayerRow, VggConfig
from app.graph.winograd import Convolution
from app.records import Explanation, Tensor

METHODS: Final = ("grad-cam", "layer-cam")
EXPLAIN_FILE: Final = "explain.onnx"
ROWS: Final = "rows"
CLASSES: Final = "classes"
AGAINST: Final = "against"
WITH_CELLS: Final = "with_cells"
MAPS: Final = "maps"
LOGITS: Final = "logits"
CELLS: Final = "cells"
CONSTANTS: Final = "constants"

SUMS: Final = "fc6_sums"
_HALF_SCALE: Final = 2.0**10
"""Gradients in float16 are multiplied by this: most are too small for its full precision."""


def explainable(config: VggConfig) -> list[LayerRow]:
    """List the layers that can be explained, in order: convolutions and poolings."""
    return [row for row in config.layers() if row.kind != "fully connected"]


def resolved(explanation: Explanation, config: VggConfig) -> Explanation:
    """Name the last convolution of a network where no layer is named."""
    *_, last, _ = explainable(config)
    return replace(explanation, layers=explanation.layers or (last.name,))


@dataclass(frozen=True)
class Explainable:
    """A VGG whose answers can be explained: what its graphs and its weights file have for that.

    Attributes:
        explanation: Names its layers.
        lowered: From `lowered_layers`.
        half: Whether its layers, but for the last, are float16.
    """

    config: VggConfig
    explanation: Explanation
    lowered: Mapping[str, Convolution]
    half: bool

    @property
    def type(self) -> int:
        """The type of all layers but the last."""
        return int(TensorProto.FLOAT16 if self.half else TensorProto.FLOAT)

    @property
    def scale(self) -> float:
        """By what gradients are multiplied."""
        return _HALF_SCALE if self.half else 1.0

    @property
    def cells(self) -> int:
        """Cells along a side of the maps after the last pooling."""
        return self.config.side // 32

    def rows(self) -> list[LayerRow]:
        """List the layers from the first that is explained to the last pooling."""
        rows = explainable(self.config)
        first = min(place for place, row in enumerate(rows) if self.explains(row))
        return rows[first:]

    def explains(self, row: LayerRow) -> bool:
        """Return whether a layer is explained."""
        return row.name in self.explanation.layers

    def kept(self) -> list[LayerRow]:
        """List the convolutions whose maps are needed; what was pooled is pooled again."""
        rows = explainable(self.config)
        first = len(rows) - len(self.rows())
        first -= rows[first].kind == "max-pooling"
        return [row for row in rows[first:] if row.kind == "convolution"]

    def needs_sums(self) -> bool:
        """Return whether mean gradients are enough, those of the last convolution."""
        last = self.kept()[-1]
        return self.explanation.method == "grad-cam" and self.explanation.layers == (last.name,)

    def outputs(self) -> list[ValueInfoProto]:
        """Describe what the serving graph gives beside probabilities: it computes all of it anyway."""
        shapes: dict[str, list[str | int | None]] = {
            relu_of(row): [None, None] if row.name in self.lowered else ["N", *row.output_shape]
            for row in self.kept()
        }
        fc6, fc7 = self.config.hidden
        shapes |= {"fc6_relu": ["N", fc6], "fc7_relu": ["N", fc7]}
        logits = {LAST_LAYER: ["N", self.config.classes]}
        return [*described(shapes, self.type), *described(logits, TensorProto.FLOAT)]

    def tensors(self, name: str, weight: Tensor) -> Iterator[tuple[str, Stored]]:
        """List what the weights file needs beside the tensors of a layer."""
        if name == "fc6" and self.needs_sums():
            parts = weight.reshape(len(weight), -1, self.cells**2)
            sums = parts.sum(axis=2, dtype=np.float64)
            yield SUMS, sums.astype(np.float16 if self.half else np.float32)
        elif name in self.lowered and name in {row.name for row in self.rows()[1:]}:
            yield f"{name}_weight", weight


def relu_of(row: LayerRow) -> str:
    """Return the name of what a convolution gives, after its ReLU."""
    return f"{row.name}_relu"


def described(shapes: Mapping[str, list[Any]], kind: int) -> list[ValueInfoProto]:
    """Describe values of one type by their names and shapes."""
    return [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
