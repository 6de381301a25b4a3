"""A graph that gives the maps inside a VGG, made from its serving graph and on the same weights.

It takes one `image`, uint8 [1, crop, crop, 3], and gives the maps of the layers that are asked for:
of a convolution after its ReLU, float32 [1, channels, side, side]. It computes in float32 on a CPU,
whatever the serving graph does: kernels in Winograd's domain are used as they lie, without the
pooling that their graph includes, and tensors in float16 are cast.

Only the graph is new. Its large tensors refer to the weights file of the serving graph.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from onnx import TensorProto, helper

from app.errors import RunFailedError
from app.graph.channel_blocks import BLOCKED
from app.graph.conv_plan import ConvPlan
from app.graph.data_files import load_onnx, locate
from app.graph.float16 import SCALE
from app.graph.layers import Maps, add_convolutions, in_planes, lowered_layers
from app.graph.node_list import NodeList
from app.graph.normalize import preprocess_nodes
from app.graph.serving_graph import INPUT, IR_VERSION, OPSET, STEM_FILE
from app.graph.vgg import LayerRow, VggConfig
from app.graph.winograd import Convolution
from app.records import Preprocess, Tensor

_LOWERED: Final = "_winograd"
"""Ends the name of a kernel in Winograd's domain."""
_PLAIN: Final = ("_weight", "_weight_wide")
"""End the name of a kernel as it is, or of the first in float16, with more inputs, all zero."""
_KERNELS: Final = (_LOWERED, *_PLAIN)
_BIASES: Final = ("_bias", "_bias_map")
"""End the name of a bias; the last is in float16."""


_COLOURS: Final = 3


class NoMapsError(ValueError):
    """A serving graph whose weights are in no form that is known here."""


def layers_with_maps(config: VggConfig) -> dict[str, LayerRow]:
    """Return the layers that give maps by name, in order: convolutions and pooling."""
    return {row.name: row for row in config.layers() if row.kind != "fully connected"}


def last_of_groups(config: VggConfig) -> tuple[str, ...]:
    """Name the last convolution of each group: `conv1_2`, `conv2_2` and so on."""
    names = [row.name for row in config.layers() if row.kind == "convolution"]
    return tuple({name.partition("_")[0]: name for name in names}.values())


def inner_graph(
    graph: Path,
    config: VggConfig,
    preprocess: Preprocess,
    block: int,
    layers: Collection[str],
) -> bytes:
    """Build the graph as far as the last of the layers.

    Args:
        graph: The file of the serving graph; its weights, and its stem if it has one, are beside it.
        config: Its network.
        preprocess: As the serving graph has it.
        block: Channels per block in onnxruntime's layout here, for a graph with lowered layers.
        layers: Some of `layers_with_maps`, in order; outputs are named by `output_of`.

    Returns:
        An ONNX model, for a session that looks for its tensors in the folder of `graph`.

    Raises:
        NoMapsError: If the weights are in no known form.
        CheckpointError: If the graph is damaged.
    """
    tensors = tensors_of(graph)
    lowered = lowered_in(config, tensors, block)
    rows = layers_with_maps(config)
    nodes = NodeList()
    nodes.nodes, nodes.constants = preprocess_nodes(preprocess, INPUT, "pixels")
    kept: list[TensorProto] = []
    outputs = []
    maps: Maps = "pixels"
    for name, row in rows.items():
        if row.weight_shape:
            kept += stored_layer(nodes, row, tensors)
        else:
            maps = in_planes(nodes, maps)
        maps = add_convolutions(nodes, [row], lowered, maps)
        if name in layers:
            shape = [1, *row.output_shape]
            nodes.add("Identity", in_planes(nodes, maps), result=output_of(name))
            outputs.append(helper.make_tensor_value_info(output_of(name), TensorProto.FLOAT, shape))
        if len(outputs) == len(layers):
            break
    image = [1, preprocess.crop, preprocess.crop, 3]
    made = helper.make_graph(
        nodes.nodes,
        "inside",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, image)],
        outputs,
        initializer=[*nodes.constants, *kept],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(BLOCKED, 1)]
    model = helper.make_model(
        made, opset_imports=opsets if lowered else opsets[:1], ir_version=IR_VERSION
    )
    return model.SerializeToString()


def output_of(layer: str) -> str:
    """Name the output of a layer; what a convolution gives before its ReLU has the layer's name."""
    return f"{layer}_maps"


def read_filters(graph: Path, layer: str, preprocess: Preprocess) -> Tensor:
    """Return the kernels of a layer that reads pixels, float32 [filters, 3, height, width], RGB.

    Raises:
        NoMapsError: If the graph has none.
        CheckpointError: If it is damaged.
    """
    tensor = _find(layer, _PLAIN, tensors_of(graph))
    part = locate(graph, tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
    with part.file.open("rb") as file:
        file.seek(part.offset)
        values = np.frombuffer(file.read(part.length), dtype).reshape(tensor.dims)
    kernels: Tensor = values[:, :_COLOURS].astype(np.float32)
    return kernels[:, ::-1] if preprocess.channels == "BGR" else kernels


def tensors_of(graph: Path) -> dict[str, TensorProto]:
    """Return the tensors of a serving graph and of its stem, by name.

    Raises:
        RunFailedError: If the files have gone, as where another `vgg-serve` with other settings wrote its own
            in their place; a session that is open needs them no more.
    """
    stem = graph.with_name(STEM_FILE)
    files = [graph, stem] if stem.exists() else [graph]
    try:
        return {one.name: one for file in files for one in load_onnx(file).graph.initializer}
    except FileNotFoundError as exc:
        raise RunFailedError(
            "The files of the model have been replaced since the server started. Restart the server."
        ) from exc


def lowered_in(
    config: VggConfig, tensors: Mapping[str, TensorProto], block: int
) -> dict[str, Convolution]:
    """Describe the lowered layers, each without the pooling after it."""
    first = next((name for name in config.weight_shapes() if f"{name}{_LOWERED}" in tensors), None)
    lowered = lowered_layers(config, ConvPlan(first, block or 1))
    return {name: replace(one, pooled=False) for name, one in lowered.items()}


def stored_layer(
    nodes: NodeList, row: LayerRow, tensors: Mapping[str, TensorProto]
) -> Iterator[TensorProto]:
    """Yield the tensors of a layer, and add nodes that make float32 of float16.

    Raises:
        NoMapsError: If they are in another form.
    """
    for ends in (_KERNELS, _BIASES):
        found = _find(row.name, ends, tensors)
        tensor = TensorProto()
        tensor.CopyFrom(found)
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.name = f"{found.name}_stored"
            _widen(nodes, row, tensor, is_bias=ends is _BIASES)
        yield tensor


def _find(layer: str, ends: Sequence[str], tensors: Mapping[str, TensorProto]) -> TensorProto:
    """Return the tensor of a layer whose name ends so, in floating point."""
    for name in (f"{layer}{end}" for end in ends):
        if name in tensors:
            if tensors[name].data_type not in {TensorProto.FLOAT, TensorProto.FLOAT16}:
                break
            return tensors[name]
    raise NoMapsError(f"the graph has no weights of {layer} in floating point")


def _widen(nodes: NodeList, row: LayerRow, tensor: TensorProto, *, is_bias: bool) -> None:
    """Add the nodes that make a tensor of `add_convolutions` of one in float16, whose scale goes."""
    nodes.scope = row.name
    single = nodes.add("Cast", tensor.name, to=TensorProto.FLOAT)
    if is_bias:
        del tensor.dims[1:]  # of a bias map, [channels, 1, 1]
        unscale = nodes.constant(np.array([1 / SCALE], np.float32))
        nodes.add("Mul", single, unscale, result=f"{row.name}_bias")
    else:
        ends = nodes.integers(0), nodes.integers(row.weight_shape[1]), nodes.integers(1)
        nodes.add("Slice", single, *ends, result=f"{row.name}_weight")
