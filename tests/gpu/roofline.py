"""The roofline of a device: its matrix rate and bandwidth, measured, and the limit they set for a VGG.

Williams, Waterman and Patterson, Roofline, Communications of the ACM 52(4), 2009: a layer takes at
least its operations over the rate and its bytes over the bandwidth, whichever is more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from timeit import repeat
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.graph.float16 import Precision
from app.graph.serving_graph import INPUT, OUTPUT
from app.graph.vgg import VggConfig

RunGraph: TypeAlias = Callable[[bytes, NDArray[Any]], Callable[[], object]]
"""Loads a graph on the device; the result runs it once and waits for the end."""

BYTES: Final = {"float32": 4, "float16": 2}
_TYPES: Final = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
_CHAIN: Final = 8
"""Operations in a row, so that the start and the end of a run count for little."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Measured rates of a device.

    Attributes:
        precision: Precision of the numbers.
        operations: Multiplications and additions per second, in a product of large matrices.
        bandwidth: Bytes per second, read and written, of a large array.
    """

    precision: Precision
    operations: float
    bandwidth: float


def measure_peaks(run: RunGraph, precision: Precision, side: int, elements: int) -> Peaks:
    """Time a product of large matrices and a pass over a large array; the best time of each counts.

    Args:
        run: Loads a graph on the device.
        precision: Precision of the numbers.
        side: Side of the matrices.
        elements: Elements of the array.
    """
    generator = np.random.default_rng(0)
    matrix = (generator.standard_normal((side, side)) / side**0.5).astype(precision)
    product = _chain(["MatMul", "matrix"], precision, (side, side), matrix=matrix)
    moved = _chain(["Neg"], precision, (elements,))
    one = np.ones(1, np.uint8)
    size = BYTES[precision]
    # Per element: two bytes and one number to fill it, two numbers per pass, one for the maximum.
    passed = elements * (2 + size + 2 * _CHAIN * size + size)
    return Peaks(
        precision=precision,
        operations=_CHAIN * 2 * side**3 / _least_time(run(product, one)),
        bandwidth=passed / _least_time(run(moved, one)),
    )


def _least_time(work: Callable[[], object]) -> float:
    return min(repeat(work, number=1, repeat=6)[1:])  # the first pays for caches and threads


def least_seconds(config: VggConfig, peaks: Peaks, images: int) -> float:
    """Return the seconds of a batch if every layer reaches the limit of the device."""
    total, source = 0.0, 3 * config.side**2
    for row in config.layers():
        result = int(np.prod(row.output_shape))
        moved = (row.parameters + images * (source + result)) * BYTES[peaks.precision]
        total += max(2 * row.multiply_adds * images / peaks.operations, moved / peaks.bandwidth)
        source = result
    return total


def _chain(
    step: list[str], precision: Precision, shape: tuple[int, ...], **constants: NDArray[Any]
) -> bytes:
    """Make a graph that applies an operator repeatedly to an array that it fills itself.

    Input and output are one number, so that nothing is computed in advance and nothing large
    crosses the bus.
    """
    op, *others = step
    nodes: list[NodeProto] = [
        helper.make_node("Expand", [INPUT, "shape"], ["filled"]),
        helper.make_node("Cast", ["filled"], ["0"], to=_TYPES[precision]),
    ]
    nodes += [helper.make_node(op, [str(i), *others], [str(i + 1)]) for i in range(_CHAIN)]
    nodes += [
        helper.make_node("ReduceMax", [str(_CHAIN)], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    constants["shape"] = np.array(shape, np.int64)
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
