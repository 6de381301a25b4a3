"""Measure how exact one lowered convolution is: `.venv/bin/python -m tests.measure_exactness`.

Each layer of VGG-16 that is lowered, at its true size, with weights and maps as a trained network has
them (`lifelike` of tests/graph/test_winograd.py), by onnxruntime: as it convolves itself, and lowered.
Prints the greatest error of the greatest value that float64 gives, and the root mean
square of errors of that of values.
"""

import numpy as np
from onnx import helper

from app.graph.conv_plan import plans
from app.graph.layers import lowered_layers
from app.graph.node_list import NodeList
from app.graph.vgg import VggConfig
from app.runtime.ort import CPU, channel_block, open_graph
from tests.graph.blocked import model_of
from tests.graph.test_winograd import convolution, lifelike, nodes_of


def error(expected, actual):
    """Return the greatest error and its root mean square, relative to those of the values."""
    off = actual - expected
    return np.abs(off).max() / np.abs(expected).max(), off.std() / expected.std()


def run(nodes, result, maps, tensors):
    """Run nodes that take maps, [channels, side, side]."""
    model = model_of(nodes, result, [1, *maps.shape], tensors)
    session = open_graph(model.SerializeToString(), CPU, threads=2)
    return session.run(None, {"maps": maps[np.newaxis]})[0][0]


def direct(weight, bias, maps):
    """Convolve as onnxruntime does by itself."""
    nodes = NodeList()
    nodes.nodes.append(
        helper.make_node("Conv", ["maps", "weight", "bias"], ["sums"], pads=[1, 1, 1, 1])
    )
    return run(nodes, nodes.add("Relu", "sums"), maps, [("weight", weight), ("bias", bias)])


def main():
    """Print a line for each shape that a layer of VGG-16 has."""
    print("inputs, outputs, side: greatest and rms, direct; lowered")  # noqa: T201
    seen = set()
    for layer in lowered_layers(VggConfig("D"), plans(channel_block())[-1]).values():
        shape = layer.inputs, layer.outputs, layer.side
        if shape in seen:
            continue
        seen.add(shape)
        weight, bias, maps = lifelike(*shape, seed=5)
        expected = convolution(weight, bias, maps, pooled=layer.pooled)
        nodes, result, tensors = nodes_of([(layer, weight, bias)], layer.block)
        plain = direct(weight, bias, maps)
        if layer.pooled:
            channels, side, _ = plain.shape
            plain = plain.reshape(channels, side // 2, 2, side // 2, 2).max(axis=(2, 4))
        found = (error(expected, plain), error(expected, run(nodes, result, maps, tensors)))
        print(*shape, *(f"{number:.1e}" for pair in found for number in pair))  # noqa: T201


if __name__ == "__main__":
    main()
