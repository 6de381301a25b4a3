"""From named tensors and ranges to a serving graph in whole numbers.

Its operators are onnxruntime's, and so is the order of a map's values: pixel by pixel, channels last,
as the uint8 image comes in. The kernels are those of its own quantiser; nothing is rewritten when the
graph is loaded. Weights have to be repacked then: without that a run repacks them, at twice the time.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from app.graph.int8.calibration import Ranges, Seen
from app.graph.int8.equalise import corrected_bias, equalise
from app.graph.int8.pixels import INSIDE, quantise_pixels
from app.graph.int8.quantise import ACTIVATION_MOST, WholeLayer, quantise
from app.graph.node_list import NodeList
from app.graph.serving_graph import (
    GRAPH_FILE,
    INPUT,
    WEIGHTS_FILE,
    add_results,
    append_tensor,
    energy_info,
    input_info,
    output_info,
    save_graph,
)
from app.graph.vgg import LAST_LAYER, LayerRow, VggConfig
from app.records import Layer, Preprocess

MICROSOFT: Final = "com.microsoft"
"""Domain of onnxruntime's operators on whole numbers that ONNX does not have."""
_SMALLEST: Final = float(np.finfo(np.float32).tiny)


def write_int8(
    folder: Path,
    config: VggConfig,
    layers: Iterable[tuple[str, Layer]],
    preprocess: Preprocess,
    ranges: Ranges,
    *,
    equalised: bool = True,
    corrected: bool = True,
    temperature: float = 1.0,
) -> None:
    """Write the int8 serving graph of a VGG as GRAPH_FILE and WEIGHTS_FILE into `folder`.

    Its input and output are those of every serving graph (app/graph/serving_graph.py). It is for a CPU
    with VNNI, AMX or dot products: elsewhere sums of 16 bits saturate, without an error.

    Args:
        folder: An existing folder; files of the same names are overwritten.
        config: The network; its side is the crop of `preprocess`.
        layers: As for `write_vgg`; two are in memory at a time.
        preprocess: Goes into the weights of conv1_1.
        ranges: From `calibrate`, with the same weights.
        equalised: Whether to even out channels.
        corrected: Whether to correct biases.
        temperature: Divides the logits before softmax.

    Raises:
        PrecisionError: If the sums of a layer could leave 32 bits.
    """
    ready = _evened(layers, ranges) if equalised else _with_ranges(layers, ranges)
    tensors: dict[str, TensorProto] = {}
    scales: dict[str, float] = {}  # of what goes into a layer
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for name, layer, seen in ready:
            if seen is None:
                scales[name] = 1.0
                whole = quantise_pixels(name, layer, preprocess)
            else:
                scales[name] = scale_of(seen)
                whole = _whole(name, layer, seen, corrected=corrected)
            for key, tensor in _stored(name, whole):
                tensors[key] = append_tensor(weights, key, tensor)
    nodes = NodeList()
    logits = _add_layers(nodes, config, scales)
    add_results(nodes, logits, temperature)
    info = [input_info(preprocess.crop)], [output_info(config.classes), energy_info()]
    save_graph(folder / GRAPH_FILE, nodes, tensors, *info)


def int8_size(config: VggConfig) -> int:
    """Estimate the size of the graph, in bytes."""
    return config.parameters()


def scale_of(seen: Seen) -> float:
    """Return the scale of what goes into a layer: the largest value seen is the largest there is."""
    most = float(seen.maxima.max())
    return max(most / ACTIVATION_MOST, _SMALLEST) if most else 1.0


def _whole(name: str, layer: Layer, seen: Seen, *, corrected: bool) -> WholeLayer:
    scale = scale_of(seen)
    whole = quantise(name, layer, scale)
    if not corrected:
        return whole
    bias = corrected_bias(layer, whole.weights_in_real, seen.means)
    return quantise(name, Layer(layer.weight, bias), scale)


def _with_ranges(
    layers: Iterable[tuple[str, Layer]], ranges: Ranges
) -> Iterator[tuple[str, Layer, Seen | None]]:
    for name, layer in layers:
        yield name, layer, ranges.layers.get(name)


def _evened(
    layers: Iterable[tuple[str, Layer]], ranges: Ranges
) -> Iterator[tuple[str, Layer, Seen | None]]:
    """Even out the channels between each layer and the next, which has to be read first."""
    before: tuple[str, Layer, Seen | None] | None = None
    for name, layer in layers:
        following, seen = layer, ranges.layers.get(name)
        if before is not None and seen is not None:
            made, first, read = before
            before = None  # fc6 has 411 MB: keep no copy of it that nothing reads
            first, following, seen = equalise(first, layer, seen)
            yield made, first, read
            del first
        before = name, following, seen
    if before is not None:
        yield before


def _stored(name: str, whole: WholeLayer) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """List the tensors of a layer; fully connected ones are [in, out], as their kernel reads them."""
    weight = whole.weight if whole.weight.ndim > 2 else whole.weight.T  # noqa: PLR2004 (a matrix)
    yield f"{name}_weight", weight
    yield f"{name}_scales", whole.scales
    yield f"{name}_zeros", np.zeros(len(whole.scales), np.int8)
    yield f"{name}_bias", whole.bias


def _add_layers(nodes: NodeList, config: VggConfig, scales: dict[str, float]) -> str:
    """Add all layers, from the image to the logits; return the name of these."""
    rows = config.layers()
    zero = nodes.constant(np.array(0, np.uint8))
    real = {name: nodes.constant(np.array(scale, np.float32)) for name, scale in scales.items()}
    after = dict(zip(scales, [*scales][1:], strict=False))
    value = nodes.add(
        "Pad", INPUT, nodes.integers(*[0] * 7, 1), nodes.constant(np.array(INSIDE, np.uint8))
    )
    for row in rows:
        if row.kind == "max-pooling":
            value = _pool(nodes, row, value)
            continue
        if row.kind == "fully connected" and row.name == "fc6":
            value = nodes.add("Transpose", value, perm=[0, 3, 1, 2])  # as its weights are stored
            value = nodes.add("Flatten", value, result="pool5_flat", axis=1)
        parts = [f"{row.name}_{part}" for part in ("weight", "scales", "zeros", "bias")]
        given = [value, real[row.name], zero, *parts[:3]]
        result = [real[after[row.name]], zero] if row.name != LAST_LAYER else []
        if row.kind == "convolution":
            value = nodes.add(
                "QLinearConv",
                *given,
                *result,
                parts[3],
                result=row.name,
                domain=MICROSOFT,
                kernel_shape=[row.kernel] * 2,
                pads=[row.kernel // 2] * 4,
                channels_last=1,
            )
        else:
            value = nodes.add("QGemm", *given, parts[3], *result, result=row.name, domain=MICROSOFT)
    return value


def _pool(nodes: NodeList, row: LayerRow, value: str) -> str:
    sides = [2, 2]
    return nodes.add(
        "NhwcMaxPool", value, result=row.name, domain=MICROSOFT, kernel_shape=sides, strides=sides
    )
