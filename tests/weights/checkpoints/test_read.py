import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import onnx
import onnx.reference
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.graph.vgg import CLASSES, CONFIGURATIONS, VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints import read
from app.weights.checkpoints.read import read_checkpoint, recognise
from app.weights.checkpoints.torch_names import convolution_places
from app.weights.manifests.manifest import FORMATS
from tests.conftest import REPOSITORY

# No two numbers of channels are alike, and the last map is 2x2: no order can hide.
CONFIG = VggConfig("A", group_channels=(2, 3, 4, 5, 6), hidden=(7, 7), side=64)
CONVOLUTIONS = [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (5, 1), (5, 2)]
NAMES = [f"conv{group}_{number}" for group, number in CONVOLUTIONS] + ["fc6", "fc7", "fc8"]
POOLED = {"conv1_1", "conv2_1", "conv3_2", "conv4_2", "conv5_2"}
TORCHVISION = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)]  # vgg11

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = dict[tuple[str, str], Array]
"""(layer, part) to its values, in the layout of the file."""


# --- networks in the two layouts, and their arithmetic -------------------------------


def channels_first(seed: int = 0) -> Tensors:
    """[out, in, height, width] and [out, in], as PyTorch, ONNX and Caffe have them."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 3), (3, 2), (4, 3), (4, 4), (5, 4), (5, 5), (6, 5), (6, 6)]
    tensors: Tensors = {}
    for name, (out, into) in zip(NAMES, shapes, strict=False):
        tensors[name, "weight"] = rng.normal(0, (2 / into / 9) ** 0.5, (out, into, 3, 3))
        tensors[name, "bias"] = rng.normal(0, 0.1, out)
    for name, (out, into) in zip(NAMES[-3:], [(7, 24), (7, 7), (CLASSES, 7)], strict=True):
        tensors[name, "weight"] = rng.normal(0, (2 / into) ** 0.5, (out, into))
        tensors[name, "bias"] = rng.normal(0, 0.1, out)
    return {key: values.astype(np.float32) for key, values in tensors.items()}


def channels_last(seed: int = 0) -> Tensors:
    """[height, width, in, out] and [in, out], as Keras has them: other numbers altogether."""
    return {
        key: np.random.default_rng(seed)
        .permutation(values.ravel())
        .reshape(values.shape[2:] + values.shape[1::-1])
        if values.ndim > 1
        else values
        for key, values in channels_first(seed).items()
    }


def run_channels_first(tensors: Tensors, image: Array) -> Array:
    """Plain arithmetic on an image [channels, height, width]."""
    x = image
    for name in NAMES[:-3]:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        height, width = x.shape[1:]
        y = tensors[name, "bias"][:, None, None] + sum(
            np.einsum(
                "oi,ihw->ohw",
                tensors[name, "weight"][:, :, dy, dx],
                padded[:, dy : dy + height, dx : dx + width],
            )
            for dy in range(3)
            for dx in range(3)
        )
        x = np.maximum(y, 0)
        if name in POOLED:
            x = x.reshape(x.shape[0], height // 2, 2, width // 2, 2).max((2, 4))
    x = x.ravel()
    for name in NAMES[-3:]:
        x = tensors[name, "weight"] @ x + tensors[name, "bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    return x


def run_channels_last(tensors: Tensors, image: Array) -> Array:
    """Plain arithmetic, as of Keras, on an image [height, width, channels]."""
    x = image
    for name in NAMES[:-3]:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        height, width = x.shape[:2]
        y = tensors[name, "bias"] + sum(
            padded[dy : dy + height, dx : dx + width] @ tensors[name, "weight"][dy, dx]
            for dy in range(3)
            for dx in range(3)
        )
        x = np.maximum(y, 0)
        if name in POOLED:
            x = x.reshape(height // 2, 2, width // 2, 2, -1).max((1, 3))
    x = x.ravel()
    for name in NAMES[-3:]:
        x = x @ tensors[name, "weight"] + tensors[name, "bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    return x


def image() -> Array:
    """Make the one image, [channels, height, width]."""
    return np.random.default_rng(7).normal(0, 1, (3, 64, 64)).astype(np.float32)


def logits(layers: dict[str, Layer]) -> Array:
    """What the layers that were read make of the image."""
    tensors: Tensors = {}
    for name, layer in layers.items():
        tensors |= {(name, "weight"): layer.weight, (name, "bias"): layer.bias}
    return run_channels_first(tensors, image())


# --- files, each by a library that is not the one under test, or by hand ---------------


def write_torchvision(path: Path, tensors: Tensors) -> None:
    """As `vgg11` of torchvision."""
    names = dict(
        zip(NAMES, [*TORCHVISION, "classifier.0", "classifier.3", "classifier.6"], strict=True)
    )
    safetensors.numpy.save_file(
        {f"{names.get(n, n)}.{part}": np.ascontiguousarray(v) for (n, part), v in tensors.items()},
        path,
    )


def write_timm(path: Path, tensors: Tensors) -> None:
    """As `vgg11.tv_in1k` of timm: fc6 and fc7 are convolutions."""
    names = dict(
        zip(NAMES, [*TORCHVISION, "pre_logits.fc1", "pre_logits.fc2", "head.fc"], strict=True)
    )
    stored = {f"{names.get(n, n)}.{part}": v for (n, part), v in tensors.items()}
    for name, side in (("pre_logits.fc1.weight", 2), ("pre_logits.fc2.weight", 1)):
        if name in stored and stored[name].shape[1] % side**2 == 0:
            stored[name] = stored[name].reshape(len(stored[name]), -1, side, side)
    safetensors.numpy.save_file(stored, path)


def onnx_layout(name: str, part: str, values: Array, head: str) -> Array:
    """Turn a fully connected weight into what the operator takes."""
    if part == "bias" or not name.startswith("fc"):
        return values
    if head == "Conv" and name != "fc8":
        side = 2 if name == "fc6" else 1
        return values.reshape(len(values), -1, side, side)
    return np.ascontiguousarray(values.T) if head in {"MatMul", "Gemm-in-out"} else values


def make_onnx(  # noqa: C901 - one graph, from top to bottom
    tensors: Tensors,
    *,
    head: str = "Gemm",
    names: Callable[[str, str], str] = "{}_{}".format,
    opset: int = 7,
    between: dict[str, list[onnx.NodeProto]] | None = None,
    listed: bool = True,
    constants: bool = False,
    softmax: bool = False,
) -> onnx.ModelProto:
    """Build a VGG of configuration A: `head` is Gemm, Gemm-in-out, MatMul or Conv."""
    nodes: list[onnx.NodeProto] = []
    value = "data"

    def add(op: str, *more: str, **attributes: Any) -> None:
        nonlocal value
        nodes.append(helper.make_node(op, [value, *more], [f"v{len(nodes)}"], **attributes))
        value = nodes[-1].output[0]

    def add_between(after: str) -> None:
        nonlocal value
        for node in (between or {}).get(after, []):
            node.input[0:0] = [value]
            node.output[:] = [f"v{len(nodes)}"]
            nodes.append(node)
            value = node.output[0]

    for name in NAMES:
        parts = names(name, "weight"), names(name, "bias")
        if name.startswith("conv"):
            add("Conv", *parts, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], group=1)
        elif head == "Conv" and name != "fc8":
            side = 2 if name == "fc6" else 1
            add("Conv", *parts, kernel_shape=[side, side])
        elif head == "MatMul":
            add("MatMul", parts[0])
            add("Add", parts[1])
        else:
            old = {"broadcast": 1} if opset < 7 else {}
            add("Gemm", *parts, transB=int(head != "Gemm-in-out"), **old)
        if name != "fc8":
            add("Relu")
        if name in POOLED:
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
        add_between(name)
    if softmax:
        add("Softmax")
    stored = [
        numpy_helper.from_array(onnx_layout(name, part, values, head), names(name, part))
        for (name, part), values in tensors.items()
    ]
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 64, 64])]
    if constants:
        nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in stored] + nodes
        stored = []
    elif listed:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored]
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, CLASSES])]
    graph = helper.make_graph(nodes, "vgg", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)


def mxnet_name(name: str, part: str) -> str:
    """Name a tensor as Gluon did."""
    if name in NAMES[:-3]:
        return f"vgg0_conv{NAMES.index(name)}_{part}"
    return f"vgg0_dense{NAMES.index(name) - 8}_{part}" if name in NAMES else f"{name}_{part}"


def flatten() -> onnx.NodeProto:
    """Make a node that `make_onnx` puts into its path."""
    return helper.make_node("Flatten", [], [])


def dropout(**attributes: Any) -> onnx.NodeProto:
    """Make a node that `make_onnx` puts into its path."""
    return helper.make_node("Dropout", [], [], **attributes)


def mxnet(tensors: Tensors) -> onnx.ModelProto:
    """As vgg16-7.onnx of the ONNX Model Zoo."""
    between = {
        "conv5_2": [flatten()],
        "fc6": [dropout(ratio=0.5), flatten()],
        "fc7": [dropout(ratio=0.5), flatten()],
    }
    return make_onnx(tensors, names=mxnet_name, between=between)


def caffe2(tensors: Tensors) -> onnx.ModelProto:
    """As vgg19-caffe2-6.onnx of the ONNX Model Zoo."""
    between = {
        "conv5_2": [helper.make_node("Reshape", ["OC2_DUMMY_1"], [])],
        "fc6": [dropout(is_test=1, ratio=0.5)],
        "fc7": [dropout(is_test=1, ratio=0.5)],
    }
    model = make_onnx(
        tensors, names=lambda n, part: f"{n}_{part[0]}_0", opset=6, between=between, softmax=True
    )
    shape = numpy_helper.from_array(np.array([1, 24], np.int64), "OC2_DUMMY_1")
    model.graph.initializer.append(shape)
    return model


def product(tensors: Tensors) -> onnx.ModelProto:
    """MatMul and Add, weights in Constant nodes, PyTorch's identity pooling."""
    between = {
        "conv1_1": [helper.make_node("Identity", [], [])],
        "conv5_2": [helper.make_node("AveragePool", [], [], kernel_shape=[1, 1]), flatten()],
    }
    return make_onnx(tensors, head="MatMul", opset=13, between=between, constants=True)


def in_out(tensors: Tensors) -> onnx.ModelProto:
    """Gemm with transB=0."""
    return make_onnx(tensors, head="Gemm-in-out", opset=11, between={"conv5_2": [flatten()]})


def convolved(tensors: Tensors) -> onnx.ModelProto:
    """As exports of timm: fc6 and fc7 as convolutions."""
    pool = helper.make_node("GlobalAveragePool", [], [])
    return make_onnx(
        tensors, head="Conv", opset=17, between={"fc7": [pool, flatten()]}, listed=False
    )


def onnx_writer(make: Callable[[Tensors], onnx.ModelProto]) -> Callable[[Path, Tensors], None]:
    """Return what builds a model and saves it."""
    return lambda path, tensors: onnx.save_model(make(tensors), path, format="protobuf")


KERAS_HEAD = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def keras_layers(tensors: Tensors) -> Iterator[tuple[str, list[tuple[str, Array]]]]:
    """Layers of `keras.applications` in order, those without weights too."""
    names = list(dict.fromkeys(name for name, _ in tensors))
    yield "input_1", []
    for name in names:
        keras_name = KERAS_HEAD.get(name, name.replace("conv", "block").replace("_", "_conv"))
        parts = [
            (part, tensors[name, part]) for part in ("weight", "bias") if (name, part) in tensors
        ]
        yield keras_name, parts
        if name in POOLED:
            yield f"block{name[4]}_pool", []
    yield "flatten", []


def write_keras(path: Path, tensors: Tensors) -> None:
    """As vgg16_weights_tf_dim_ordering_tf_kernels.h5."""
    with h5py.File(path, "w") as file:
        write_keras_layers(file, tensors, {"weight": "{0}_W_1:0", "bias": "{0}_b_1:0"})


def write_keras_model(path: Path, tensors: Tensors) -> None:
    """As `model.save("model.h5")`."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.9.0"
        file.create_group("optimizer_weights").create_dataset("iterations:0", data=3)
        root = file.create_group("model_weights")
        write_keras_layers(root, tensors, {"weight": "{0}/kernel:0", "bias": "{0}/bias:0"})
        root.create_group("top_level_model_weights").attrs["weight_names"] = np.array([])


def write_keras_layers(root: h5py.Group, tensors: Tensors, names: dict[str, str]) -> None:
    """Write a group a layer, and the attributes that list them."""
    layers = dict(keras_layers(tensors))
    root.attrs["layer_names"] = [name.encode() for name in layers]
    root.attrs["backend"] = b"tensorflow"
    for name, parts in layers.items():
        group = root.create_group(name)
        group.attrs["weight_names"] = [names[part].format(name).encode() for part, _ in parts]
        for part, values in parts:
            group[names[part].format(name)] = values


def write_keras_3(path: Path, tensors: Tensors) -> None:
    """As `model.save_weights("model.weights.h5")`."""
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        counts: dict[str, int] = {}
        for name, parts in keras_layers(tensors):
            kind = "conv2d" if "_conv" in name else "dense" if parts else "flatten"
            number = counts[kind] = counts.get(kind, -1) + 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            for part, values in parts:
                group["0" if part == "weight" else "1"] = values


def varint(number: int) -> bytes:
    """Encode seven bits a byte, the lowest first."""
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protocol buffer, on the wire."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(values: Array) -> bytes:
    """Pack float32, little-endian."""
    return struct.pack(f"<{values.size}f", *values.ravel())


def write_caffe(path: Path, tensors: Tensors) -> None:
    """As VGG_ILSVRC_16_layers.caffemodel: V1 layers, four dimensions for each blob."""
    layers = {name: b"" for name, _ in tensors}
    for (name, _), values in tensors.items():
        dims = (1,) * (4 - values.ndim) + values.shape
        shape = b"".join(field(number, dim) for number, dim in enumerate(dims, start=1))
        layers[name] += field(6, shape + field(5, floats(values)))
    model = field(1, b"VGG_ILSVRC_11_layers") + field(2, field(4, b"data") + field(5, 5))
    for name, blobs in layers.items():
        kind = 4 if name.startswith("conv") else 14  # CONVOLUTION, INNER_PRODUCT
        model += field(
            2, field(2, b"x") + field(3, b"y") + field(4, name.encode()) + field(5, kind) + blobs
        )
        model += field(2, field(4, b"relu") + field(5, 18))
    path.write_bytes(model)


def write_caffe_2015(path: Path, tensors: Tensors) -> None:
    """As Caffe writes it now: layers of field 100, a shape for each blob; float64 here."""
    layers = {name: b"" for name, _ in tensors}
    for (name, _), values in tensors.items():
        shape = field(1, b"".join(map(varint, values.shape)))
        data = field(8, struct.pack(f"<{values.size}d", *values.ravel()))
        layers[name] += field(7, field(7, shape) + data)
    path.write_bytes(
        field(1, b"VGG")
        + b"".join(
            field(100, field(1, name.encode()) + field(2, b"Convolution") + blobs)
            for name, blobs in layers.items()
        )
    )


@dataclass(frozen=True)
class Case:
    format: str
    write: Callable[[Path, Tensors], None]
    make: Callable[[], Tensors] = channels_first


CASES = {
    "torchvision": Case("safetensors", write_torchvision),
    "timm": Case("safetensors", write_timm),
    "mxnet": Case("onnx", onnx_writer(mxnet)),
    "caffe2": Case("onnx", onnx_writer(caffe2)),
    "product": Case("onnx", onnx_writer(product)),
    "in-out": Case("onnx", onnx_writer(in_out)),
    "convolved": Case("onnx", onnx_writer(convolved)),
    "keras": Case("keras", write_keras, channels_last),
    "keras-model": Case("keras", write_keras_model, channels_last),
    "keras-3": Case("keras", write_keras_3, channels_last),
    "caffe": Case("caffe", write_caffe),
    "caffe-2015": Case("caffe", write_caffe_2015),
}
ONE_A_FORMAT = ["torchvision", "mxnet", "keras", "caffe"]

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_format = pytest.mark.parametrize("case", [CASES[n] for n in ONE_A_FORMAT], ids=ONE_A_FORMAT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file under test."""
    return tmp_path / "checkpoint"


def refusal(path: Path, file_format: str, config: VggConfig = CONFIG) -> str:
    """Return the sentence with which a file is refused, without the file."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, file_format, config)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


# --- what is read, and in which order ---------------------------------------------------


def expected_logits(case: Case, path: Path) -> Array:
    """What the framework of the file makes of the image."""
    if case is CASES["caffe2"]:  # older than the oldest operators that run today
        scores = np.exp(run_channels_first(case.make(), image()))
        return np.asarray(scores / scores.sum())
    if case.format == "onnx":
        model = onnx.reference.ReferenceEvaluator(onnx.load_model(path, format="protobuf"))
        (output,) = model.run(None, {"data": image()[None]})
        return np.asarray(output).ravel()
    if case.format == "keras":
        return run_channels_last(case.make(), image().transpose(1, 2, 0))
    return run_channels_first(case.make(), image())


def test_formats():
    """Each format of a manifest has a reader, and no other has."""
    assert FORMATS == tuple(read._READERS)


@every_case
def test_layers(case, path):
    """Layers come in order, with the shapes of the configuration, as plain float32."""
    case.write(path, case.make())

    layers = read_checkpoint(path, case.format, CONFIG)

    assert list(CONFIG.weight_shapes().items()) == [
        (name, layer.weight.shape) for name, layer in layers.items()
    ]
    assert [s[:1] for s in CONFIG.weight_shapes().values()] == [
        layer.bias.shape for layer in layers.values()
    ]
    for layer in layers.values():
        for tensor in (layer.weight, layer.bias):
            assert np.dtype("=f4") == tensor.dtype
            assert tensor.flags.c_contiguous


@every_case
def test_order(case, path):
    """The layers that were read compute what the framework of the file computes."""
    case.write(path, case.make())
    expected = expected_logits(case, path)

    actual = logits(read_checkpoint(path, case.format, CONFIG))

    if case is CASES["caffe2"]:  # its last operator is a softmax
        actual = np.exp(actual) / np.exp(actual).sum()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "mistake", ["fc6 flattened H,W,C", "kernel turned", "fc7 transposed", "in and out swapped"]
)
def test_order_is_seen(mistake, path):
    """A mistake in the order of any weight changes the result by far more than rounding."""
    write_torchvision(path, channels_first())
    layers = read_checkpoint(path, "safetensors", CONFIG)
    right = logits(layers)
    name, wrong = {
        "fc6 flattened H,W,C": (
            "fc6",
            lambda w: w.reshape(7, 2, 2, 6).transpose(0, 3, 1, 2).reshape(7, 24),
        ),
        "kernel turned": ("conv3_1", lambda w: w.transpose(0, 1, 3, 2)),
        "fc7 transposed": ("fc7", lambda w: w.T),
        "in and out swapped": ("conv3_2", lambda w: w.transpose(1, 0, 2, 3)),
    }[mistake]
    layers[name] = Layer(wrong(layers[name].weight), layers[name].bias)

    assert 0.05 < np.abs(logits(layers) - right).max()


@pytest.mark.parametrize("configuration", ["B", "C", "D", "E"])
def test_configurations(configuration, path):
    """The indices of torchvision follow from the configuration."""
    config = VggConfig(configuration, (2, 3, 4, 5, 6), hidden=(7, 7), side=64)
    last = {"B": 22, "C": 28, "D": 28, "E": 34}[configuration]  # of torchvision's `features`
    write_any_torchvision(path, config)

    layers = read_checkpoint(path, "safetensors", config)

    with safetensors.safe_open(path, framework="numpy") as file:
        assert f"features.{last}.weight" in file.keys()  # noqa: SIM118 - not a dict
        assert [*layers][-4].startswith("conv5_")
        assert (file.get_tensor(f"features.{last}.weight") == [*layers.values()][-4].weight).all()


def write_any_torchvision(path: Path, config: VggConfig) -> None:
    """Number the modules as `torch.nn.Sequential` would: each of them, with weights or not."""
    modules: list[str] = []
    for row in config.layers():
        modules += [row.name] if row.kind == "max-pooling" else [row.name, "relu"]
    stored, seen_flatten = {}, False
    for name, shape in config.weight_shapes().items():
        seen_flatten = seen_flatten or name == "fc6"
        place = f"features.{modules.index(name)}"
        if seen_flatten:
            place = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}[name]
        stored[f"{place}.weight"] = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        stored[f"{place}.bias"] = np.zeros(shape[0], np.float32)
    safetensors.numpy.save_file(stored, path)


def test_true_configurations_have_torchvision_indices():
    """VGG-16 and VGG-19 have the indices that are in torchvision's published files."""
    published = {
        "D": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
        "E": [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
    }
    for configuration, indices in published.items():
        assert indices == [*convolution_places(VggConfig(configuration), has_norm=False).values()]


def test_batch_norm_with_a_negative_variance_is_refused(path):
    """Its square root would be no number."""
    stored = with_norm()
    stored["features.1.running_var"][0] = -1
    safetensors.numpy.save_file(stored, path)

    with pytest.raises(CheckpointError, match="has a negative variance behind conv1_1"):
        read_checkpoint(path, "safetensors", CONFIG)


def test_batch_norm_that_lacks_a_tensor_is_refused(path):
    """The sentence names the tensor."""
    stored = with_norm()
    del stored["features.5.running_mean"]
    safetensors.numpy.save_file(stored, path)

    with pytest.raises(CheckpointError, match=r"has no tensor features\.5\.running_mean"):
        read_checkpoint(path, "safetensors", CONFIG)


def with_norm() -> dict[str, NDArray[np.float32]]:
    """Make the tensors of a network with batch norm that changes nothing but by epsilon."""
    return torch_tensors(CONFIG, has_norm=True)


def torch_tensors(config: VggConfig, *, has_norm: bool) -> dict[str, NDArray[np.float32]]:
    """Make a network of ones with torchvision's names."""
    stored: dict[str, NDArray[np.float32]] = {}
    places = convolution_places(config, has_norm=has_norm)
    heads = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    for name, shape in config.weight_shapes().items():
        theirs = heads.get(name) or f"features.{places[name]}"
        stored[f"{theirs}.weight"] = np.ones(shape, np.float32)
        stored[f"{theirs}.bias"] = np.zeros(shape[0], np.float32)
        if has_norm and name in places:
            for part in ("weight", "bias", "running_mean", "running_var"):
                stored[f"features.{places[name] + 1}.{part}"] = np.ones(shape[0], np.float32)
    return stored


@each_format
def test_half(case, path):
    """Weights of 16 bits become float32 without a loss."""
    if case.format == "caffe":
        pytest.skip("has no such type")
    halves = {key: values.astype(np.float16) for key, values in case.make().items()}
    case.write(path, halves)
    bias = read_checkpoint(path, case.format, CONFIG)["fc8"].bias

    assert np.dtype(np.float32) == bias.dtype
    assert halves["fc8", "bias"].tolist() == bias.tolist()


@pytest.mark.parametrize("name", ["torchvision", "mxnet"])
def test_bfloat16(name, path):
    """Weights in bfloat16 become float32 without a loss."""
    bfloat16 = np.dtype("bfloat16")
    tensors = {key: values.astype(bfloat16) for key, values in channels_first().items()}
    CASES[name].write(path, tensors)

    bias = read_checkpoint(path, CASES[name].format, CONFIG)["fc8"].bias

    assert tensors["fc8", "bias"].astype(np.float32).tolist() == bias.tolist()


@pytest.mark.parametrize("name", ["torchvision", "keras", "mxnet"])
def test_big_endian_and_double(name, path):
    """Weights of 64 bits, and in HDF5 of the other byte order, become native float32."""
    case = CASES[name]
    dtype = ">f8" if name == "keras" else "f8"
    case.write(path, {key: values.astype(dtype) for key, values in case.make().items()})

    bias = read_checkpoint(path, case.format, CONFIG)["fc8"].bias

    assert np.dtype("=f4") == bias.dtype
    assert case.make()["fc8", "bias"].tolist() == bias.tolist()


# --- what is refused --------------------------------------------------------------------


@every_case
def test_missing(case, path):
    """A file without one of the tensors is refused by the name of that tensor."""
    tensors = case.make()
    del tensors["fc7", "bias"]
    case.write(path, tensors)

    assert "has no" in (sentence := refusal(path, case.format))
    assert "bias" in sentence


@every_case
def test_extra(case, path):
    """A file with a tensor more is another network, and is refused."""
    tensors = case.make() | {("conv6_1", "weight"): np.ones((2, 2, 3, 3), np.float32)}
    if case is CASES["product"]:
        pytest.skip("a constant that nothing uses does not change what the graph computes")
    case.write(path, tensors)

    assert "for which this network has no place" in refusal(path, case.format)


@every_case
@pytest.mark.parametrize("key", [("conv3_2", "weight"), ("fc6", "weight"), ("fc8", "bias")])
def test_wrong_shape(case, key, path):
    """A wrong shape is refused with what it is and what was expected."""
    tensors = case.make()
    tensors[key] = np.concatenate([tensors[key], tensors[key][:1]])
    case.write(path, tensors)

    assert "shape [" in (sentence := refusal(path, case.format))
    assert key[1] in sentence
    assert "expected [" in sentence


@every_case
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(case, value, path):
    """One value that is not finite is refused, with the tensor it is in."""
    tensors = case.make()
    tensors["conv5_1", "weight"].flat[3] = value
    case.write(path, tensors)

    sentence = refusal(path, case.format)

    assert "not a finite float32" in sentence
    assert any(name in sentence for name in ("conv5_1", "features.16", "block5_conv1", "conv2d_6"))


@pytest.mark.parametrize("name", ["torchvision", "mxnet", "keras"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, bool])
def test_not_floating(name, dtype, path):
    """Weights that are whole numbers, as of a quantised network, are refused."""
    tensors = CASES[name].make()
    tensors["fc7", "weight"] = tensors["fc7", "weight"].astype(dtype)
    CASES[name].write(path, tensors)

    assert "expected" in refusal(path, CASES[name].format)


def test_too_large_for_float32(path):
    """A float64 that is infinite as float32 is refused."""
    tensors = {key: values.astype(np.float64) for key, values in channels_first().items()}
    tensors["fc7", "weight"][0, 0] = 1e300
    write_torchvision(path, tensors)

    assert "classifier.3.weight that is not a finite float32" in refusal(path, "safetensors")


@every_case
def test_other_configuration(case, path):
    """A file of configuration A is not one of configuration D."""
    case.write(path, case.make())

    assert refusal(path, case.format, VggConfig("D", (2, 3, 4, 5, 6), hidden=(7, 7), side=64))


@every_case
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated(case, part, path):
    """A file that is cut short is refused."""
    case.write(path, case.make())
    os.truncate(path, int(path.stat().st_size * part))

    assert refusal(path, case.format)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("content", [b"garbage, and more of it", b"\0" * 4096, b"\xff" * 999, b"{"])
def test_garbage(file_format, content, path):
    """What is no checkpoint at all is refused."""
    path.write_bytes(content)

    assert refusal(path, file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_empty(file_format, path):
    """An empty file is refused as such."""
    path.touch()

    assert "is empty" == refusal(path, file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_no_file(file_format, path):
    """A folder or nothing at all is refused."""
    assert "is not there" in refusal(path, file_format)
    path.mkdir()
    assert "is not there, or is not a file" == refusal(path, file_format)


def test_unknown_format(path):
    """A format that is not one of those of a manifest is refused."""
    assert "cannot be read as 'pickle'" in refusal(path, "pickle")


class Bomb:
    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("protocol", range(6))
def test_pickle(file_format, protocol, path):
    """A pickle is never read; from protocol 2 on, it is called by its name."""
    path.write_bytes(pickle.dumps({"features.0.weight": Bomb()}, protocol=protocol))

    sentence = refusal(path, file_format)

    assert protocol < 2 or "looks like a pickle, which is not read" in sentence
    assert protocol < 2 or "load it with PyTorch and save it again" in sentence


@pytest.mark.parametrize("file_format", FORMATS)
def test_zip(file_format, path):
    """A zip archive is recognised; what it would run as a checkpoint of PyTorch is refused."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))

    reason = "wants to run" if file_format == "pth" else "looks like a checkpoint of PyTorch"
    assert reason in refusal(path, file_format)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "name", ["torchvision", "mxnet", "keras", "caffe", "caffe-2015", "convolved"]
)
def test_other_format(file_format, name, path):
    """A file of another format is refused by what it looks like."""
    CASES[name].write(path, CASES[name].make())

    if file_format != CASES[name].format:
        assert f"is not {file_format}: it looks like" in refusal(path, file_format)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\0", "an archive"),
    ],
)
def test_download_gone_wrong(content, what, path):
    """What is often there instead of a checkpoint is called by its name."""
    path.write_bytes(content)

    assert what in refusal(path, "onnx")


def test_too_large(path):
    """A file far larger than the network is refused before it is read."""
    write_caffe(path, channels_first())
    os.truncate(path, 2**33)  # sparse

    assert "expected at most" in refusal(path, "caffe")


# --- ONNX -------------------------------------------------------------------------------


def changed_onnx(path: Path, change: Callable[[onnx.GraphProto], object]) -> str:
    """Return the sentence with which a good graph is refused once it was changed."""
    model = mxnet(channels_first())
    change(model.graph)
    onnx.save_model(model, path, format="protobuf")
    return refusal(path, "onnx")


def set_attribute(graph: onnx.GraphProto, op: str, **attributes: Any) -> None:
    """Set attributes of the first node with that operator."""
    node = next(node for node in graph.node if node.op_type == op)
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept + [helper.make_attribute(*item) for item in attributes.items()])


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Conv", {"strides": [2, 2]}),
        ("Conv", {"pads": [0, 0, 0, 0]}),
        ("Conv", {"dilations": [2, 2]}),
        ("Conv", {"group": 3}),
        ("Conv", {"kernel_shape": [1, 1]}),
        ("Conv", {"auto_pad": "VALID"}),
        ("MaxPool", {"kernel_shape": [3, 3]}),
        ("MaxPool", {"strides": [1, 1]}),
        ("Gemm", {"alpha": 0.5}),
        ("Gemm", {"beta": 0.0}),
        ("Gemm", {"transA": 1}),
        ("Flatten", {"axis": 2}),
    ],
)
def test_onnx_attribute(op, attributes, path):
    """An operator with other attributes than the paper's is refused."""
    assert changed_onnx(path, lambda graph: set_attribute(graph, op, **attributes))


@pytest.mark.parametrize("op", ["LRN", "InstanceNormalization", "Sigmoid", "Transpose", "Softmax"])
def test_onnx_operator(op, path):
    """An operator that VGG has not is refused by name."""

    def change(graph: onnx.GraphProto) -> None:
        graph.node[1].op_type = op

    expected = f"has the operator {op} where Relu (conv1_1) is expected"
    assert expected == changed_onnx(path, change)


def test_onnx_other_domain(path):
    """An operator with a familiar name from elsewhere is refused."""

    def change(graph: onnx.GraphProto) -> None:
        graph.node[1].domain = "com.example"

    assert "has the operator com.example.Relu" == changed_onnx(path, change)


def test_onnx_pooling_that_is_not_the_identity(path):
    """Torchvision's adaptive pooling is accepted only where it changes nothing."""

    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "Flatten")
        node.op_type = "GlobalAveragePool"

    assert "GlobalAveragePool where Gemm (fc6) is expected" in changed_onnx(path, change)


def test_onnx_branch(path):
    """A graph in which the data take two ways is refused."""

    def change(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("Relu", ["v3"], ["elsewhere"]))

    assert "branches after v3, expected one path" == changed_onnx(path, change)


def test_onnx_convolution_without_bias(path):
    """An Add after a convolution is not its bias: it goes along the width of the map."""

    def change(graph: onnx.GraphProto) -> None:
        bias = graph.node[0].input.pop()
        graph.node.append(helper.make_node("Add", ["v0", bias], ["sum"]))
        graph.node[1].input[0] = "sum"

    assert "has no bias in conv1_1" == changed_onnx(path, change)


def test_onnx_circle(path):
    """A graph that runs in a circle is refused and not followed for ever."""

    def change(graph: onnx.GraphProto) -> None:
        del graph.node[:]
        del graph.initializer[:]
        del graph.input[1:]
        graph.node.append(helper.make_node("Identity", ["data"], ["data"]))

    assert "expected one path" in changed_onnx(path, change)


def test_onnx_output_elsewhere(path):
    """A graph whose output is not where the data end is refused."""

    def change(graph: onnx.GraphProto) -> None:
        graph.output[0].name = "elsewhere"

    assert "which is not its output" in changed_onnx(path, change)


def test_onnx_external_data(path):
    """A name that leads out of the folder is refused, and that file is not opened."""

    def change(graph: onnx.GraphProto) -> None:
        tensor = graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="/etc/passwd")

    assert "in '/etc/passwd', expected the name of a file beside it" in changed_onnx(path, change)


@pytest.mark.parametrize("one_file", [True, False])
def test_onnx_with_data_beside_it(path, one_file):
    """What torch.onnx.export writes by default: weights in a file, or files, of the same folder."""
    tensors = channels_first()
    onnx.save_model(
        mxnet(tensors),
        path,
        format="protobuf",
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        size_threshold=0,
    )

    layers = read_checkpoint(path, "onnx", CONFIG)

    for name, layer in layers.items():
        assert np.array_equal(tensors[name, "weight"], layer.weight)
        assert np.array_equal(tensors[name, "bias"], layer.bias)


def test_onnx_absurd_size(path):
    """Dimensions that no memory could hold are refused before anything is allocated."""

    def change(graph: onnx.GraphProto) -> None:
        graph.initializer[0].dims[:] = [2**40, 2**40]

    assert "conv1_1.weight with shape" in changed_onnx(path, change)


def test_onnx_short_data(path):
    """Fewer bytes than the dimensions say are refused."""

    def change(graph: onnx.GraphProto) -> None:
        graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-4]

    assert "cannot be read as onnx" in changed_onnx(path, change)


def test_onnx_deep(path):
    """Messages nested a thousand deep are refused and do not exhaust the stack."""
    content = b""
    for _ in range(1000):
        content = field(1, field(5, field(6, content)))  # a graph in an attribute of a node
    path.write_bytes(field(1, 3) + field(7, content))

    assert "cannot be read as onnx" in refusal(path, "onnx")


# --- Keras ------------------------------------------------------------------------------


def test_keras_without_h5py(path, monkeypatch):
    """The sentence names the command that installs it, and whom it does not concern."""
    write_keras(path, channels_last())
    monkeypatch.setitem(sys.modules, "h5py", None)  # as if it were not installed

    sentence = refusal(path, "keras")

    assert sentence.startswith("needs h5py, which is not installed")
    assert f"{sys.executable} -m pip install h5py" in sentence
    assert "none of the built-in models needs it" in sentence


def test_other_formats_need_no_h5py():
    """It is imported when a Keras checkpoint is read, and not at the start."""
    code = "import sys, app.weights.pull; sys.exit('h5py' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("other.h5", "/fc1"), h5py.SoftLink("/elsewhere")]
)
def test_keras_link(link, path):
    """A link out of the file is refused, even to a file that has what is missing."""
    write_keras(path, channels_last())
    write_keras(path.with_name("other.h5"), channels_last())
    with h5py.File(path, "a") as file:
        del file["fc1"]
        file["fc1"] = link

    assert "has no tensor fc1.weight (nor 1 more)" in refusal(path, "keras")


@pytest.mark.parametrize("where", ["virtual", "raw"])
def test_keras_dataset_elsewhere(where, path):
    """A dataset whose values are in another file is refused."""
    write_keras(path, channels_last())
    write_keras(path.with_name("other.h5"), channels_last())
    with h5py.File(path, "a") as file:
        name = "fc1/fc1_b_1:0"
        del file[name]
        if where == "raw":
            other = [(str(path.with_name("other.h5")), 0, 28)]
            file.create_dataset(name, shape=(7,), dtype="f4", external=other)
        else:
            layout = h5py.VirtualLayout(shape=(7,), dtype="f4")
            layout[:] = h5py.VirtualSource("other.h5", name, shape=(7,))
            file.create_virtual_dataset(name, layout)

    assert "keeps fc1.bias in another file, which is not read" == refusal(path, "keras")


def test_keras_absurd_size(path):
    """A dataset that declares terabytes is refused before anything is allocated."""
    write_keras(path, channels_last())
    with h5py.File(path, "a") as file:
        del file["fc1/fc1_W_1:0"]
        file.create_dataset("fc1/fc1_W_1:0", shape=(2**20, 2**20), chunks=(64, 64), dtype="f4")

    assert "fc1.weight with shape [1048576, 1048576]" in refusal(path, "keras")


def test_keras_circle(path):
    """A group that holds itself is no reason to run for ever."""
    write_keras(path, channels_last())
    with h5py.File(path, "a") as file:
        file["fc1/again"] = file["/"]

    assert NAMES == list(read_checkpoint(path, "keras", CONFIG))


def test_hdf5_that_is_not_keras(path):
    """HDF5 of something else is refused."""
    with h5py.File(path, "w") as file:
        file["weights"] = np.ones(3)

    assert "has no tensor block1_conv1.weight" in refusal(path, "keras")


def test_keras_twice(path):
    """Two kernels in one layer are refused."""
    write_keras_model(path, channels_last())
    with h5py.File(path, "a") as file:
        file["model_weights/fc2/other/kernel:0"] = np.ones((7, 7), np.float32)

    assert "has a tensor fc2/" in refusal(path, "keras")


# --- Caffe ------------------------------------------------------------------------------


def test_caffe_twice(path):
    """A layer that is there twice is refused."""
    write_caffe(path, channels_first())
    path.write_bytes(path.read_bytes() * 2)

    assert "has conv1_1.weight twice" == refusal(path, "caffe")


def test_caffe_third_blob(path):
    """A layer with a third blob, as of batch normalisation, is refused."""
    write_caffe(path, channels_first())
    more = field(4, b"extra") + 3 * field(6, field(5, struct.pack("<f", 1)))
    path.write_bytes(path.read_bytes() + field(2, more))

    assert "has a tensor extra.2 (nor 2 more)" in refusal(path, "caffe")


@pytest.mark.parametrize("missing", [1, 4])
def test_caffe_short_data(missing, path):
    """A blob with fewer values than its dimensions say is refused."""
    bias = channels_first()["fc8", "bias"]
    write_caffe(path, channels_first())
    whole = field(5, floats(bias))
    short = field(5, floats(bias)[:-missing]) + field(
        99, b"x" * (missing - 2 if missing > 2 else 0)
    )
    content = path.read_bytes().replace(
        whole, short + b"\x20\x01" * ((len(whole) - len(short)) // 2)
    )
    path.write_bytes(content)

    assert refusal(path, "caffe")


# --- which network is it? ----------------------------------------------------------------


@every_case
def test_a_network_is_recognised_by_its_shapes(case, path):
    """Whatever the publisher calls its tensors, and however he stores them."""
    case.write(path, case.make())

    assert (case.format, CONFIG) == recognise(path)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("has_norm", [False, True])
def test_every_configuration_is_recognised(configuration, has_norm, path):
    """A to E, with batch norm or without, of any width, side and number of classes."""
    config = VggConfig(configuration, (3, 4, 5, 6, 7), (9, 8), classes=11, side=96)
    safetensors.numpy.save_file(torch_tensors(config, has_norm=has_norm), path)

    assert ("safetensors", config) == recognise(path)


@pytest.mark.parametrize(
    ("drop", "sentence"),
    [
        ("features", "it has 3 layers with weights, expected convolutions"),
        ("classifier", "it has 8 layers with weights, expected convolutions and then three fully"),
        ("features.16", r"its convolutions have kernels of \[3, 3, 3, 3, 3, 3, 3\] pixels"),
    ],
)
def test_another_network_is_not_taken_for_a_vgg(drop, sentence, path):
    """The sentence says what the file has."""
    tensors = torch_tensors(CONFIG, has_norm=False)
    kept = {name: one for name, one in tensors.items() if not name.startswith(drop)}
    safetensors.numpy.save_file(kept, path)

    with pytest.raises(CheckpointError, match=sentence):
        recognise(path)


# --- PyTorch ----------------------------------------------------------------------------


def torch_vgg(*, convolved_head: bool = False, has_norm: bool = False):
    """Build configuration A as torchvision does, or with the head of timm."""
    torch = pytest.importorskip("torch")
    from collections import OrderedDict  # noqa: PLC0415

    nn = torch.nn
    torch.manual_seed(5)
    features, channels = [], 3
    for name, out in zip(NAMES, (2, 3, 4, 4, 5, 5, 6, 6), strict=False):
        norm = [nn.BatchNorm2d(out)] if has_norm else []
        features += [nn.Conv2d(channels, out, 3, padding=1), *norm, nn.ReLU(inplace=True)]
        channels = out
        if name in POOLED:
            features.append(nn.MaxPool2d(2, 2))
    if convolved_head:
        logits_of = [
            (
                "pre_logits",
                nn.Sequential(
                    OrderedDict(
                        fc1=nn.Conv2d(6, 7, 2),
                        act1=nn.ReLU(),
                        fc2=nn.Conv2d(7, 7, 1),
                        act2=nn.ReLU(),
                    )
                ),
            ),
            (
                "head",
                nn.Sequential(
                    OrderedDict(
                        global_pool=nn.AdaptiveAvgPool2d(1),
                        flatten=nn.Flatten(1),
                        fc=nn.Linear(7, CLASSES),
                    )
                ),
            ),
        ]
    else:
        logits_of = [
            ("avgpool", nn.AdaptiveAvgPool2d((2, 2))),
            ("flatten", nn.Flatten(1)),
            (
                "classifier",
                nn.Sequential(
                    nn.Linear(24, 7),
                    nn.ReLU(),
                    nn.Dropout(),
                    nn.Linear(7, 7),
                    nn.ReLU(),
                    nn.Dropout(),
                    nn.Linear(7, CLASSES),
                ),
            ),
        ]
    model = nn.Sequential(OrderedDict([("features", nn.Sequential(*features)), *logits_of])).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, std=0.5)
    with torch.no_grad():
        return model, model(torch.from_numpy(image()[None])).numpy().ravel()


@pytest.mark.torch
@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("convolved_head", [False, True])
def test_torch_safetensors(convolved_head, has_norm, path):
    """A network saved by PyTorch, with batch norm or without, computes the same from what was read."""
    model, expected = torch_vgg(convolved_head=convolved_head, has_norm=has_norm)
    from safetensors.torch import save_file  # noqa: PLC0415 - needs PyTorch

    save_file(model.state_dict(), path)

    actual = logits(read_checkpoint(path, "safetensors", CONFIG))

    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("convolved_head", [False, True])
def test_torch_onnx(convolved_head, path):
    """A network exported by PyTorch computes the same from what was read."""
    model, expected = torch_vgg(convolved_head=convolved_head)
    import torch  # noqa: PLC0415 - not everywhere

    torch.onnx.export(model, (torch.from_numpy(image()[None]),), path, dynamo=False)

    actual = logits(read_checkpoint(path, "onnx", CONFIG))

    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("file_format", FORMATS)
def test_torch_pickle(file_format, old, path):
    """A .pth in its form before PyTorch 1.6 is refused, and a new one under another format."""
    torch = pytest.importorskip("torch")
    torch.save({"features.0.weight": torch.ones(2)}, path, _use_new_zipfile_serialization=not old)

    reason = "looks like a pickle" if old else "looks like a checkpoint of PyTorch"
    new = file_format == "pth" and not old
    assert ("has no tensor" if new else reason) in refusal(path, file_format)


# --- damage -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Make one good file of each kind."""
    path = tmp_path_factory.mktemp("whole") / "checkpoint"
    contents = {}
    for name, case in CASES.items():
        case.write(path, case.make())
        contents[name] = path.read_bytes()
    return contents


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damage(whole, tmp_path_factory, data):
    """A file with flipped bits or cut short is refused or read whole; nothing else happens."""
    name = data.draw(st.sampled_from([*CASES]))
    content = bytearray(whole[name])
    near = st.integers(0, 2000) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(near, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.just(len(content)) | near)])

    try:
        layers = read_checkpoint(path, CASES[name].format, CONFIG)
    except CheckpointError:
        return

    assert CONFIG.weight_shapes() == {n: layer.weight.shape for n, layer in layers.items()}
    assert all(np.isfinite(layer.weight).all() for layer in layers.values())


@pytest.mark.parametrize(
    ("case", "new"),
    [
        ("caffe", "fc8_flowers"),
        ("caffe-2015", "my_score"),
        ("keras", "dense"),
        ("keras", "flowers"),
    ],
)
def test_a_renamed_last_layer(case, new, path, monkeypatch):
    """Fine-tuning with Caffe renames fc8, and Keras calls a new layer `dense`."""
    chosen = CASES[case]
    if chosen.format == "keras":
        monkeypatch.setitem(KERAS_HEAD, "fc8", new)
        chosen.write(path, chosen.make())
    else:
        names = {"fc8": new}
        renamed = {(names.get(n, n), part): v for (n, part), v in chosen.make().items()}
        chosen.write(path, renamed)

    assert (chosen.format, CONFIG) == recognise(path)
    assert NAMES == list(read_checkpoint(path, chosen.format, CONFIG))


@pytest.mark.parametrize(
    ("layers", "count"), [(("0",), 9), (("0", "3"), 10), (("0", "3", "6.0", "6.2"), 12)]
)
def test_another_head_is_named(layers, count, path):
    """The sentence is about the fully connected layers, and says where such a network can go."""
    tensors = {f"{place}.weight": np.zeros((2, 2, 3, 3), np.float32) for place in TORCHVISION}
    tensors |= {f"classifier.{place}.weight": np.zeros((2, 2), np.float32) for place in layers}
    safetensors.numpy.save_file(tensors, path)

    with pytest.raises(CheckpointError, match=r"three fully connected layers.*ONNX") as caught:
        recognise(path)

    assert f"it has {count} layers" in str(caught.value)


def test_a_last_layer_inside_of_another(path):
    """`model.classifier[6] = Sequential(Dropout(), Linear(...))` gives it two numbers."""
    write_torchvision(path, channels_first())
    tensors = safetensors.numpy.load_file(path)
    moved = {n.replace("classifier.6.", "classifier.6.1."): t for n, t in tensors.items()}
    safetensors.numpy.save_file(moved, path)

    assert ("safetensors", CONFIG) == recognise(path)
    assert NAMES == list(read_checkpoint(path, "safetensors", CONFIG))
