"""The nodes of the graph that explains answers; app/graph/explain.py has the arithmetic."""

from collections.abc import Callable, Iterator
from functools import partial, reduce

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from app.graph.explain import (
    AGAINST,
    CELLS,
    CLASSES,
    CONSTANTS,
    LOGITS,
    MAPS,
    ROWS,
    SUMS,
    WITH_CELLS,
    Explainable,
    described,
    relu_of,
)
from app.graph.float16 import SCALE
from app.graph.layers import branch
from app.graph.node_list import NodeList
from app.graph.vgg import LAST_LAYER, LayerRow
from app.graph.winograd import before_pooling


def explain_graph(
    vgg: Explainable,
) -> tuple[NodeList, list[ValueInfoProto], list[ValueInfoProto]]:
    """Make the graph: its nodes, inputs and outputs."""
    pairs = _Pairs(vgg)
    pairs.explain()
    side = vgg.rows()[0].output_shape[-1]
    question = {name: ["M"] for name in (ROWS, CLASSES, AGAINST)}
    results: dict[str, list[str | int | None]] = {
        MAPS: ["M", side, side],
        LOGITS: ["M"],
        CELLS: [None, vgg.cells, vgg.cells],
        CONSTANTS: [None],
    }
    inputs = [
        *described(question, TensorProto.INT64),
        helper.make_tensor_value_info(WITH_CELLS, TensorProto.BOOL, []),
        *vgg.outputs(),
    ]
    return pairs.nodes, inputs, described(results, TensorProto.FLOAT)


class _Pairs:
    """The nodes of the graph, for M pairs of an image and a class.

    Values are float32 unless the layers are float16; gradients of those are multiplied by
    `Explainable.scale`, and their activations by SCALE (app/graph/float16.py).
    """

    def __init__(self, vgg: Explainable) -> None:
        """Start without nodes."""
        self.nodes = NodeList()
        self._vgg = vgg
        # By convolution: after its ReLU, [M, channels, side, side].
        self._maps: dict[str, str] = {}

    def explain(self) -> None:
        """Add all nodes."""
        vgg, nodes = self._vgg, self.nodes
        nodes.scope = "activations"
        self._maps = {row.name: self._of_images(row) for row in vgg.kept()}
        nodes.scope = "dense"
        v7 = self._of_classes(self._last_layer("weight"), columns=True)
        v7 = nodes.add("Mul", v7, self._above_0(self._rows("fc7_relu"), TensorProto.FLOAT))
        v6 = nodes.add("MatMul", self._scaled(v7), "fc7_weight")
        v6 = nodes.add("Mul", v6, self._above_0(self._rows("fc6_relu"), vgg.type))
        if vgg.needs_sums():
            gradient = None
            (row,) = vgg.kept()
            found = [(row, self._weighted(row, nodes.add("MatMul", v6, SUMS)))]
        else:
            gradient = self._to_pool5(v6)
            found = [*self._layer_maps(gradient)]
        nodes.scope = "maps"
        seen = [(row, nodes.add("Relu", maps)) for row, maps in found]
        maps = [self._comparable(*one) for one in seen] if len(seen) > 1 else [seen[0][1]]
        nodes.add("Identity", reduce(partial(nodes.add, "Add"), maps), result=MAPS)
        self._add_logits()
        self._add_cells(v7, v6, gradient)

    def _rows(self, name: str) -> str:
        """Take what the run gave for the image of each pair."""
        return self.nodes.add("Gather", name, ROWS, axis=0)

    def _of_images(self, row: LayerRow) -> str:
        """Take the maps of a layer for the image of each pair."""
        one = self._vgg.lowered.get(row.name)
        if one is None:
            return self._rows(relu_of(row))
        return self._rows(before_pooling(self.nodes, one, relu_of(row)).to_maps(self.nodes))

    def _of_classes(self, take: Callable[[str], str], *, columns: bool) -> str:
        """Take float32 values for the classes, minus those for the ones they are compared with.

        Args:
            take: Adds nodes that take them for int64 [M], and gives [M, columns] or [M].
            columns: Whether there are columns.
        """
        nodes = self.nodes
        zero = nodes.constant(np.array(0, np.int64))
        absent = nodes.add("Cast", nodes.add("Less", AGAINST, zero), to=TensorProto.FLOAT)
        present = nodes.add("Sub", self._number(1), absent)
        if columns:
            present = nodes.add("Unsqueeze", present, nodes.integers(1))
        other = nodes.add("Mul", take(nodes.add("Max", AGAINST, zero)), present)
        return nodes.add("Sub", take(CLASSES), other)

    def _last_layer(self, tensor: str) -> Callable[[str], str]:
        """Return what takes rows of a tensor of the last layer."""
        return lambda classes: self.nodes.add("Gather", f"{LAST_LAYER}_{tensor}", classes, axis=0)

    def _above_0(self, values: str, kind: int) -> str:
        """Make a mask of what a ReLU let through."""
        nodes = self.nodes
        return nodes.add("Cast", nodes.add("Cast", values, to=TensorProto.BOOL), to=kind)

    def _to_pool5(self, v6: str) -> str:
        """Compute the gradient at the last pooling: [M, channels, cells, cells]."""
        nodes = self.nodes
        channels, cells = self._vgg.config.group_channels[-1], self._vgg.cells
        flat = nodes.add("MatMul", v6, "fc6_weight")
        return nodes.add("Reshape", flat, nodes.integers(0, channels, cells, cells))

    def _weighted(self, row: LayerRow, sums: str) -> str:
        """Compute Grad-CAM from the gradients of a layer, summed for each channel: [M, channels]."""
        nodes = self.nodes
        channels, side, _ = row.output_shape
        means = self._single(sums, 1 / (self._vgg.scale * side**2))
        means = nodes.add("Unsqueeze", means, nodes.integers(1))
        maps = self._single(self._maps_after(row), self._unscaled)
        maps = nodes.add("Reshape", maps, nodes.integers(0, channels, side**2))
        return nodes.add("Reshape", nodes.add("MatMul", means, maps), nodes.integers(0, side, side))

    def _layer_maps(self, gradient: str) -> Iterator[tuple[LayerRow, str]]:
        """Go back from the last pooling to the first layer that is explained; give a map for each."""
        vgg, nodes = self._vgg, self.nodes
        first, *others = vgg.rows()
        for row in [*others[::-1], first]:
            nodes.scope = row.name
            if vgg.explains(row):
                yield row, self._layer_map(row, gradient)
            if row is first:
                return
            if row.kind == "max-pooling":
                gradient = self._before_pooling(row, gradient)
            else:
                gradient = self._before_convolution(row, gradient)

    def _before_convolution(self, row: LayerRow, gradient: str) -> str:
        """Send each gradient through a ReLU and a convolution."""
        passed = self._above_0(self._maps[row.name], self._vgg.type)
        return self.nodes.add(
            "ConvTranspose",
            self.nodes.add("Mul", gradient, passed),
            f"{row.name}_weight",
            kernel_shape=[row.kernel] * 2,
            pads=[row.kernel // 2] * 4,
        )

    def _comparable(self, row: LayerRow, maps: str) -> str:
        """Divide each map by its largest value, and resize it to the side of the largest maps."""
        nodes = self.nodes
        times = self._vgg.rows()[0].output_shape[-1] / row.output_shape[-1]
        scales = nodes.constant(np.array([1, 1, times, times], np.float32))
        largest = nodes.add("ReduceMax", maps, axes=[1, 2])
        least = self._number(float(np.finfo(np.float32).tiny))
        maps = nodes.add("Div", maps, nodes.add("Max", largest, least))
        maps = nodes.add("Unsqueeze", maps, nodes.integers(1))
        maps = nodes.add("Resize", maps, "", scales, mode="linear")
        return nodes.add("Squeeze", maps, nodes.integers(1))

    def _pooled(self, row: LayerRow, *places: str) -> str:
        """Pool again; `places` is a name for where each value came from."""
        maps = self._maps[self._convolution(row).name]
        sides = [2, 2]
        return self.nodes.add("MaxPool", maps, others=places, kernel_shape=sides, strides=sides)

    def _convolution(self, row: LayerRow) -> LayerRow:
        """Return the convolution whose maps a pooling takes."""
        group = row.name[-1]
        return next(r for r in reversed(self._vgg.kept()) if r.name.startswith(f"conv{group}"))

    def _maps_after(self, row: LayerRow) -> str:
        return self._pooled(row) if row.kind == "max-pooling" else self._maps[row.name]

    def _before_pooling(self, row: LayerRow, gradient: str) -> str:
        """Send each gradient to the pixel that was the largest of its four, the first of equals."""
        nodes, convolution = self.nodes, self._convolution(row)
        maps, places = self._maps[convolution.name], f"{row.name}_places"
        channels, side, _ = convolution.output_shape
        self._pooled(row, places)
        flat = nodes.integers(-1)
        empty = nodes.add("Reshape", nodes.add("Sub", maps, maps), flat)
        sent = nodes.add(
            "ScatterElements",
            empty,
            nodes.add("Reshape", places, flat),
            nodes.add("Reshape", gradient, flat),
        )
        return nodes.add("Reshape", sent, nodes.integers(-1, channels, side, side))

    def _layer_map(self, row: LayerRow, gradient: str) -> str:
        """Compute the map of a layer from its gradients: float32 [M, side, side]."""
        nodes, channel = self.nodes, self.nodes.integers(1)
        maps = self._maps_after(row)
        if self._vgg.explanation.method == "grad-cam":
            sums = nodes.add("ReduceSum", gradient, nodes.integers(2, 3), keepdims=0)
            return self._weighted(row, sums)
        parts = nodes.add("Mul", nodes.add("Relu", gradient), maps)
        parts = self._single(parts, self._unscaled / self._vgg.scale)
        return nodes.add("ReduceSum", parts, channel, keepdims=0)

    def _add_logits(self) -> None:
        """Take the logits of the classes, minus those of the ones they are compared with."""
        nodes = self.nodes
        nodes.scope = "logits"
        all_of_image, column = self._rows(LAST_LAYER), nodes.integers(1)

        def take(classes: str) -> str:
            places = nodes.add("Unsqueeze", classes, column)
            found = nodes.add("GatherElements", all_of_image, places, axis=1)
            return nodes.add("Squeeze", found, column)

        nodes.add("Identity", self._of_classes(take, columns=False), result=LOGITS)

    def _add_cells(self, v7: str, v6: str, gradient: str | None) -> None:
        """Split the logits into cells and a constant, if that is wanted; else both are empty."""
        outer, cells = self.nodes, self._vgg.cells
        self.nodes = outer.inner("cells")
        then = self._branch(*self._split(v7, v6, gradient))
        self.nodes = outer.inner("no_cells")
        empty = (np.empty(shape, np.float32) for shape in ((0, cells, cells), (0,)))
        no = self._branch(*(self.nodes.add("Identity", outer.constant(one)) for one in empty))
        self.nodes = outer
        outer.add(
            "If", WITH_CELLS, result=CELLS, others=[CONSTANTS], then_branch=then, else_branch=no
        )

    def _branch(self, *results: str) -> GraphProto:
        return branch(self.nodes, results)

    def _split(self, v7: str, v6: str, gradient: str | None) -> tuple[str, str]:
        """Compute what each cell of the last pooling adds to the logits, and what is constant."""
        nodes = self.nodes
        gradient = gradient or self._to_pool5(v6)
        pooled = self._pooled(self._vgg.rows()[-1])
        parts = nodes.add(
            "Mul",
            self._single(gradient, 1 / self._vgg.scale),
            self._single(pooled, self._unscaled),
        )
        constants = self._of_classes(self._last_layer("bias"), columns=False)
        for value, name in (
            (v7, "fc7_bias"),
            (self._single(v6, 1 / self._vgg.scale), "fc6_bias"),
        ):
            added = nodes.add("MatMul", value, self._single(name, self._unscaled))
            constants = nodes.add("Add", constants, added)
        return nodes.add("ReduceSum", parts, nodes.integers(1), keepdims=0), constants

    @property
    def _unscaled(self) -> float:
        """By what activations are multiplied to have their own values."""
        return 1 / SCALE if self._vgg.half else 1.0

    def _scaled(self, value: str) -> str:
        """Turn float32 gradients into the type of the layers."""
        if not self._vgg.half:
            return value
        value = self.nodes.add("Mul", value, self._number(self._vgg.scale))
        return self.nodes.add("Cast", value, to=self._vgg.type)

    def _single(self, value: str, factor: float) -> str:
        """Turn a value of the layers into float32, and multiply it."""
        if self._vgg.half:
            value = self.nodes.add("Cast", value, to=TensorProto.FLOAT)
        return self.nodes.add("Mul", value, self._number(factor)) if factor != 1 else value

    def _number(self, value: float) -> str:
        return self.nodes.constant(np.array(value, np.float32))
