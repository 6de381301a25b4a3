"""The nodes of a graph under construction, and their small constants."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper


class NodeList:
    """Builds a graph node by node.

    Attributes:
        constants: Each of them is there once, however often it is used.
        scope: Prefix for the names of the next nodes, usually their layer: profiles show it.
    """

    def __init__(self) -> None:
        """Start without nodes."""
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.scope = ""
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(
        self,
        op_type: str,
        *inputs: str,
        result: str | None = None,
        others: Sequence[str] = (),
        **attributes: Any,  # noqa: ANN401 - each operator has its own attributes
    ) -> str:
        """Append a node; return the name of its first output, `result` or a new one; then `others`."""
        name = result or f"{self.scope}/{op_type}_{len(self.nodes)}"
        outputs = [name, *others]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=name, **attributes))
        return name

    def inner(self, scope: str) -> "NodeList":
        """Start the nodes of a branch, which has its own scope, and no constants of its own."""
        inner = NodeList()
        inner.constants, inner._names, inner.scope = self.constants, self._names, scope
        return inner

    def constant(self, values: NDArray[np.float32 | np.int32 | np.int64]) -> str:
        """Return the name of a small constant with these values."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._names:
            name = f"constant_{len(self.constants)}"
            self._names[key] = name
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return self._names[key]

    def integers(self, *values: int) -> str:
        """Return the name of a constant list of integers: a shape, axes, the ends of a slice."""
        return self.constant(np.array(values, np.int64))
