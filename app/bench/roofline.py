"""What a device could do at best: its matrix rate and bandwidth, measured, and what follows for a VGG.

Williams, Waterman and Patterson, Roofline, Communications of the ACM 52(4), 2009: a layer takes at
least its operations over the rate and its bytes over the bandwidth, whichever is more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.graph.float16 import Precision
from app.graph.serving_graph import INPUT, OUTPUT
from app.graph.vgg import VggConfig
from app.runtime.stopwatch import least_seconds as time_least

RunGraph = Callable[[bytes, NDArray[Any]], Callable[[], object]]
"""Loads a graph on the device; what it gives runs it and waits for the end."""

BYTES: Final = {"float32": 4, "float16": 2}
_TYPES: Final = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
_CHAIN: Final = 8
"""Operations in a row, so that the beginning and the end of a run count for little."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """What was measured of a device.

    Attributes:
        precision: Of the numbers.
        operations: Multiplications and additions a second, in a product of large matrices.
        bandwidth: Bytes a second, read and written, of a large array.
    """

    precision: Precision
    operations: float
    bandwidth: float


def measure_peaks(run: RunGraph, precision: Precision, side: int, elements: int) -> Peaks:
    """Multiply large matrices and pass over a large array, and take the best time of each.

    Args:
        run: Of the device.
        precision: Of the numbers.
        side: Of the matrices.
        elements: Of the array.
    """
    generator = np.random.default_rng(0)
    matrix = (generator.standard_normal((side, side)) / side**0.5).astype(precision)
    product = _chain(["MatMul", "matrix"], precision, (side, side), matrix=matrix)
    moved = _chain(["Neg"], precision, (elements,))
    one = np.ones(1, np.uint8)
    size = BYTES[precision]
    # Of the passes: two bytes and one number for the beginning, one number for the end.
    passed = elements * (2 + size + 2 * _CHAIN * size + size)
    return Peaks(
        precision=precision,
        operations=_CHAIN * 2 * side**3 / time_least(run(product, one)),
        bandwidth=passed / time_least(run(moved, one)),
    )


def least_seconds(config: VggConfig, peaks: Peaks, images: int) -> float:
    """Return the seconds that a batch takes if each layer reaches what the device can do."""
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
    """Make a graph that applies an operator again and again to an array that it fills itself.

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
