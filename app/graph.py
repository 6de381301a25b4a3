"""Named tensors to a serving graph: pixels in, probabilities out.

A serving graph takes `image`, uint8 [N, crop, crop, 3], RGB, and gives `probabilities`,
float32 [N, 1000]. Normalisation stands inside it, so that a quarter of the bytes cross the
bus and no caller can normalise twice. Its large tensors lie in a file of their own beside
it, which the session maps into memory instead of reading.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from app.catalog import Preprocess
from app.precision import Precision, Stored, halve_vgg, scaled, stored_tensors
from app.records import Layer
from app.vgg import CLASSES, VggConfig

GRAPH_VERSION: Final = 1
"""Part of the key of every serving graph on disk; raised whenever this module writes others."""

INPUT: Final = "image"
OUTPUT: Final = "probabilities"
GRAPH_FILE: Final = "graph.onnx"
WEIGHTS_FILE: Final = "weights.bin"

_OPSET: Final = 17
_IR_VERSION: Final = 9
_PAGE: Final = 4096  # bytes; tensors begin on a page, so that each can be mapped on its own


def write_vgg(
    folder: Path,
    config: VggConfig,
    layers: Iterable[tuple[str, Layer]],
    preprocess: Preprocess,
    precision: Precision = "float32",
) -> None:
    """Write the serving graph of a VGG as GRAPH_FILE and WEIGHTS_FILE into `folder`.

    Args:
        folder: An existing folder; files of the same names are overwritten.
        config: The network; its side is the crop of `preprocess`.
        layers: Every layer with weights, in the order of `config.weight_shapes()`; each is
            written before the next is asked for, so one at a time needs to be in memory.
        preprocess: What stands in front of conv1_1.
        precision: Of the layers; input and output are the same with each.

    Raises:
        CheckpointError: If a weight does not fit into the precision.
        OSError: If the files cannot be written.
    """
    half = precision == "float16"
    nodes, initializers = preprocess_nodes(scaled(preprocess) if half else preprocess, "pixels")
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for name, layer in layers:
            for tensor_name, tensor in stored_tensors(name, layer, precision):
                initializers.append(_append(weights, tensor_name, tensor))
    nodes += halve_vgg(_vgg_nodes(config)) if half else _vgg_nodes(config)
    model = _model(nodes, initializers, crop=preprocess.crop)
    onnx.save_model(model, folder / GRAPH_FILE)


def preprocess_nodes(
    preprocess: Preprocess, result: str
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Build (pixel - mean) / std, from uint8 [N, H, W, 3] RGB to float32 [N, 3, H, W].

    Transposing comes first, while a pixel is still one byte.
    """
    shape = (1, 3, 1, 1)
    mean = np.asarray(preprocess.mean, np.float32).reshape(shape)
    std = np.asarray(preprocess.std, np.float32).reshape(shape)
    constants = [
        numpy_helper.from_array(mean, "served_mean"),
        numpy_helper.from_array(std, "served_std"),
    ]
    nodes = [helper.make_node("Transpose", [INPUT], ["served_planes"], perm=[0, 3, 1, 2])]
    planes = "served_planes"
    if preprocess.channels == "BGR":
        constants.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "served_order"))
        nodes.append(helper.make_node("Gather", [planes, "served_order"], ["served_bgr"], axis=1))
        planes = "served_bgr"
    nodes += [
        helper.make_node("Cast", [planes], ["served_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["served_float", "served_mean"], ["served_centred"]),
        helper.make_node("Div", ["served_centred", "served_std"], [result]),
    ]
    return nodes, constants


def _vgg_nodes(config: VggConfig) -> list[NodeProto]:
    nodes: list[NodeProto] = []
    value = "pixels"
    for row in config.layers():
        inputs = [value, f"{row.name}_weight", f"{row.name}_bias"]
        if row.kind == "max-pooling":
            node = helper.make_node(
                "MaxPool", [value], [row.name], kernel_shape=[2, 2], strides=[2, 2]
            )
        elif row.kind == "convolution":
            node = helper.make_node(
                "Conv",
                inputs,
                [row.name],
                kernel_shape=[row.kernel] * 2,
                pads=[row.kernel // 2] * 4,
            )
        else:
            if row.name == "fc6":
                nodes.append(helper.make_node("Flatten", [value], ["pool5_flat"], axis=1))
                inputs[0] = "pool5_flat"
            node = helper.make_node("Gemm", inputs, [row.name], transB=1)
        node.name = value = row.name
        nodes.append(node)
        if row.weight_shape and row.name != "fc8":
            value = f"{row.name}_relu"
            nodes.append(helper.make_node("Relu", [row.name], [value]))
    nodes.append(helper.make_node("Softmax", [value], [OUTPUT], axis=1))
    return nodes


def _model(nodes: list[NodeProto], initializers: list[TensorProto], crop: int) -> ModelProto:
    graph = helper.make_graph(
        nodes, "vgg", [input_info(crop)], [output_info()], initializer=initializers
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="vgg-serve",
    )


def input_info(crop: int) -> ValueInfoProto:
    """Describe the input of every serving graph."""
    return helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", crop, crop, 3])


def output_info() -> ValueInfoProto:
    """Describe the output of every serving graph."""
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", CLASSES])


def _append(weights: BinaryIO, name: str, tensor: Stored) -> TensorProto:
    """Append a tensor to the weights file and return the reference to it."""
    weights.write(b"\0" * (-weights.tell() % _PAGE))
    reference = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype.type)),
        dims=tensor.shape,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (
        ("location", WEIGHTS_FILE),
        ("offset", str(weights.tell())),
        ("length", str(tensor.nbytes)),
    ):
        reference.external_data.add(key=key, value=value)
    weights.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).data)
    return reference
