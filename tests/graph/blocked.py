"""onnxruntime's operators for maps in blocks of channels, as numpy computes them, and graphs of them."""

import numpy as np
import onnx.reference
from onnx import TensorProto, helper, numpy_helper
from onnx.reference.op_run import OpRun

from app.graph.channel_blocks import BLOCKED

SHAPES = (8, 16)
"""Channels of a block: registers of 256 and of 512 bits."""


def in_blocks(maps, block):
    """[N, channels, ..] with the channels of a block side by side; the shape stays, as there."""
    count, channels, *sides = maps.shape
    parted = maps.reshape(count, channels // block, block, -1).swapaxes(2, 3)
    return np.ascontiguousarray(parted).reshape(count, channels, *sides)


def out_of_blocks(blocks, block):
    """The other way round."""
    count, channels, *sides = blocks.shape
    parted = blocks.reshape(count, channels // block, -1, block).swapaxes(2, 3)
    return np.ascontiguousarray(parted).reshape(count, channels, *sides)


def operators(block):
    """Define the operators for a block of so many channels."""

    class ReorderInput(OpRun):
        op_domain = BLOCKED

        def _run(self, maps):
            return (in_blocks(maps, block),)

    class Conv(OpRun):
        op_domain = BLOCKED

        def _run(self, maps, weight, bias, *, group, kernel_shape, **_):
            assert [1, 1] == list(kernel_shape)
            outputs, inputs = weight.shape[:2]
            # In the file: blocks of outputs, blocks of inputs, inputs of a block, outputs of a block.
            kernels = weight.reshape(outputs // block, inputs // block, block, block)
            kernels = kernels.transpose(0, 3, 1, 2).reshape(group, -1, inputs)
            columns = out_of_blocks(maps, block).reshape(group, inputs, -1)
            sums = kernels @ columns + bias.reshape(group, -1, 1)
            return (in_blocks(sums.reshape(1, outputs, 1, -1), block),)

    return [ReorderInput, Conv]


def model_of(nodes, result, shape, tensors=()):
    """Make a model that takes `maps` of this shape."""
    graph = helper.make_graph(
        nodes.nodes,
        "blocked",
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [*nodes.constants, *(numpy_helper.from_array(one, name) for name, one in tensors)],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid(BLOCKED, 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


def run(nodes, result, maps, block, tensors=()):
    """Run nodes that take `maps` in ONNX's own interpreter."""
    model = model_of(nodes, result, maps.shape, tensors)
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=operators(block))
    (found,) = evaluator.run(None, {"maps": maps})
    return np.asarray(found)
