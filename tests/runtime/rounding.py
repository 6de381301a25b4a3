"""float16 as on a GPU, computed on a CPU: sums in float32, and every result rounded to float16.

onnxruntime's CPU provider computes whole float16 graphs in float32 and rounds nothing in between,
so that nothing could overflow there. Here each node is a session of its own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.records import PixelBatch, ProbabilityBatch

_NUMBERS: dict[int, Any] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


class RoundingSession:
    """A serving graph, node by node.

    Attributes:
        largest: The largest absolute value that any float16 result had.
    """

    def __init__(self, graph: Path) -> None:
        model = onnx.load_model(graph)
        self._nodes = list(model.graph.node)
        self._opsets = list(model.opset_import)
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._sessions: dict[int, ort.InferenceSession] = {}
        self.largest = 0.0

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch."""
        values: dict[str, NDArray[Any]] = {**self._constants, "image": batch}
        for number, node in enumerate(self._nodes):
            inputs = [values[name] for name in node.input]
            half = node.op_type != "Cast" and any(x.dtype == np.float16 for x in inputs)
            if node.op_type == "Cast":
                to = next(a.i for a in node.attribute if a.name == "to")
                with np.errstate(over="ignore"):
                    result = inputs[0].astype(_NUMBERS[to])
            elif node.op_type == "Constant":
                result = numpy_helper.to_array(node.attribute[0].t)
            else:
                wide = [x.astype(np.float32) if x.dtype == np.float16 else x for x in inputs]
                if number not in self._sessions:
                    self._sessions[number] = self._open(node, wide)
                feeds = dict(zip(node.input, wide, strict=True))
                result = self._sessions[number].run([node.output[0]], feeds)[0]
                with np.errstate(over="ignore"):
                    result = result.astype(np.float16) if half else result
            if result.dtype == np.float16:
                self.largest = max(self.largest, float(np.abs(result).max()))
            values[node.output[0]] = result
        return np.asarray(values["probabilities"], np.float32)

    def _open(self, node: NodeProto, inputs: list[NDArray[Any]]) -> ort.InferenceSession:
        """Load a graph of this node alone; weights go in as constants would, by their names."""
        infos = [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(x.dtype),
                [f"{name}_{i}" for i in range(x.ndim)],
            )
            for name, x in dict(zip(node.input, inputs, strict=True)).items()
        ]
        output = onnx.ValueInfoProto(name=node.output[0])
        graph = helper.make_graph([node], "one", infos, [output])
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=9)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
