"""Mean subtraction and division by the standard deviation, as nodes of the serving graph."""

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.records import Preprocess


def preprocess_nodes(
    preprocess: Preprocess, source: str, result: str
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Build (pixel - mean) / std, from uint8 [N, H, W, 3] RGB to float32 [N, 3, H, W].

    The transposition comes first, while a pixel is still one byte.
    """
    shape = (1, 3, 1, 1)
    mean = np.asarray(preprocess.mean, np.float32).reshape(shape)
    std = np.asarray(preprocess.std, np.float32).reshape(shape)
    constants = [
        numpy_helper.from_array(mean, "served_mean"),
        numpy_helper.from_array(std, "served_std"),
    ]
    nodes = [helper.make_node("Transpose", [source], ["served_planes"], perm=[0, 3, 1, 2])]
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
