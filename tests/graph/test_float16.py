"""float16 answers as float32 does, and nothing in it overflows."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.errors import CheckpointError
from app.graph.float16 import SCALE, Precision
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Layer, Preprocess
from app.runtime.cpu_session import CpuSession
from tests.conftest import PHOTOS, REPOSITORY, SHARED_DATA
from tests.runtime.rounding import RoundingSession

SIDE = 64
CAFFE = Preprocess(72, SIDE, "BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Preprocess(72, SIDE, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CONFIG = VggConfig("D", group_channels=(8, 12, 16, 20, 24), hidden_units=40, side=SIDE)
SQUEEZENET = Preprocess(256, 227, "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
LARGEST = 5e-3
"""Difference of a probability that float16 may make."""


def lively(gain: float) -> dict[str, Layer]:
    """Draw a VGG whose activations are `gain` times its input's, and its logits of the size of 5."""
    generator = np.random.default_rng(3)
    layers = {}
    for name, layer in untrained_layers(CONFIG):
        bias = generator.normal(0, 0.1, layer.bias.shape).astype(np.float32)
        weight = layer.weight
        if name == "conv1_1":
            weight = weight * np.float32(gain)
        if name == "fc8":
            weight = weight / np.float32(gain)
        layers[name] = Layer(weight=weight, bias=bias)
    return layers


def pictures(count: int) -> np.ndarray:
    """Make pictures with colours and contrasts of their own."""
    generator = np.random.default_rng(count)
    colour = generator.uniform(0, 255, (count, 1, 1, 3))
    coarse = generator.normal(0, 50, (count, 8, 8, 3)).repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    noise = generator.normal(0, 20, (count, SIDE, SIDE, 3))
    return np.clip(colour + coarse + noise, 0, 255).astype(np.uint8)


def write(
    folder: Path, precision: Precision, layers: dict[str, Layer], preprocess: Preprocess
) -> Path:
    """Write a serving graph."""
    place = folder / precision
    place.mkdir()
    write_vgg(place, CONFIG, layers.items(), preprocess, precision)
    return place / GRAPH_FILE


def assert_agree(full: np.ndarray, half: np.ndarray) -> None:
    """Compare probabilities by the bounds that float16 has to keep."""
    assert np.float32 == half.dtype
    assert np.abs(full - half).max() <= LARGEST
    clear = np.diff(np.sort(full, axis=1)[:, -2:], axis=1)[:, 0] > LARGEST
    assert clear.mean() > 0.9, "most pictures have one best class"
    assert (full.argmax(axis=1) == half.argmax(axis=1))[clear].all()
    five = [
        {*np.argsort(-a)[:5].tolist()} == {*np.argsort(-b)[:5].tolist()}
        for a, b in zip(full, half, strict=True)
    ]
    assert np.mean(five) >= 0.98


# --- VGG -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "preprocess"),
    [(1.0, TORCH), (1 / 50, CAFFE), (1.0, CAFFE), (100.0, CAFFE)],
    ids=["torchvision", "caffe", "thousands", "hundred thousands"],
)
def test_vgg_agrees_with_float32(tmp_path, gain, preprocess):
    """A VGG answers alike, from activations around 1 to those far above what float16 holds."""
    layers = lively(gain)
    # As trained networks have them, the logits are not larger for it.
    size = 58 * gain if preprocess is CAFFE else 1
    last = layers["fc8"]
    layers["fc8"] = Layer(weight=last.weight * np.float32(3 * gain / size), bias=last.bias)
    batch = pictures(60)

    full = CpuSession(write(tmp_path, "float32", layers, preprocess)).run(batch)
    rounded = RoundingSession(write(tmp_path, "float16", layers, preprocess))

    assert_agree(full, rounded.run(batch))
    assert rounded.largest < 65_504 / 4
    plain = CpuSession(tmp_path / "float16" / GRAPH_FILE).run(batch)
    assert_agree(full, plain)


def test_scaling_is_what_keeps_it_from_overflowing(tmp_path):
    """The largest case above is beyond float16 without the scale, so it does show something."""
    layers = lively(100.0)
    rounded = RoundingSession(write(tmp_path, "float16", layers, CAFFE))

    rounded.run(pictures(4))

    assert rounded.largest / SCALE > 65_504


def test_half_the_bytes(tmp_path):
    """Weights take half the space; ONNX's checker passes it, input and output are as ever."""
    layers = lively(1.0)
    half = write(tmp_path, "float16", layers, TORCH)

    onnx.checker.check_model(str(half), full_check=True)
    model = onnx.load_model(half, load_external_data=False)
    assert TensorProto.UINT8 == model.graph.input[0].type.tensor_type.elem_type
    assert TensorProto.FLOAT == model.graph.output[0].type.tensor_type.elem_type
    single = {
        tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT
    }
    assert {"served_mean", "served_std", "fc8_weight", "fc8_bias"} == single
    weights = sum(layer.weight.nbytes + layer.bias.nbytes for layer in layers.values())
    fc8 = layers["fc8"].weight.nbytes + layers["fc8"].bias.nbytes
    lengths = [
        int(entry.value)
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "length"
    ]
    assert (weights + fc8) / 2 == sum(lengths)
    assert sum(lengths) <= (half.parent / WEIGHTS_FILE).stat().st_size


def test_weight_that_float16_cannot_hold(tmp_path):
    """A weight that would become infinite is refused by name."""
    layers = lively(1.0)
    layers["conv2_1"].weight[0, 0, 0, 0] = 70_000

    with pytest.raises(CheckpointError, match=r"conv2_1_weight .* VGG_PRECISION=float32"):
        write(tmp_path, "float16", layers, TORCH)


# --- ready graphs ----------------------------------------------------------------------


def parts_of_photos() -> np.ndarray:
    """Cut real photos into overlapping parts."""
    found = []
    for path in sorted(
        [*PHOTOS.glob("*.jpg"), *(REPOSITORY / "app/web/page/static/samples").glob("*.jpg")]
    ):
        photo = Image.open(path).convert("RGB")
        width, height = photo.size
        found.append(pixels(photo))
        for part in (0.75, 0.6):
            w, h = int(part * width), int(part * height)
            corners = [(0, 0), (width - w, 0), (0, height - h), (width - w, height - h)]
            found += [pixels(photo.crop((x, y, x + w, y + h))) for x, y in corners]
    return np.stack(found)


def pixels(photo: Image.Image) -> np.ndarray:
    """Prepare it as an upload would be."""
    data = io.BytesIO()
    photo.save(data, "PNG")
    return prepare(data.getvalue(), SQUEEZENET, ImageLimits(), exact=True)[0]


def both(folder: Path, path: Path, preprocess: Preprocess) -> tuple[CpuSession, RoundingSession]:
    """Write a ready graph in both precisions."""
    for precision in ("float32", "float16"):
        (folder / precision).mkdir()
        write_ready(folder / precision, path, preprocess, precision)
        onnx.checker.check_model(str(folder / precision / GRAPH_FILE), full_check=True)
    return (
        CpuSession(folder / "float32" / GRAPH_FILE),
        RoundingSession(folder / "float16" / GRAPH_FILE),
    )


@pytest.mark.real
def test_real_classifier_agrees_on_real_photos(tmp_path):
    """The real SqueezeNet answers alike on photos, whole and in parts."""
    path = SHARED_DATA / "squeezenet1_0.onnx"
    if not path.exists():
        pytest.skip(f"no real classifier: {path} is not there")
    full, rounded = both(tmp_path, path, SQUEEZENET)
    batch = parts_of_photos()

    assert_agree(full.run(batch), rounded.run(batch))
    assert rounded.largest < 65_504 / 4


def classifier(*nodes: str, opset: int = 13) -> onnx.ModelProto:
    """Make a classifier of three channels; a node is `Op inputs -> output`."""
    generator = np.random.default_rng(0)
    constants = {
        "weight": generator.normal(0, 1, (1000, 3, 1, 1)),
        "bias": generator.normal(0, 1, 1000),
        "shift": np.full((1, 1000, 1, 1), 2.0),
        "matrix": generator.normal(0, 1, (1000, 1000)) / 30,
    }
    made = []
    for text in nodes:
        op, *inputs, _, output = text.split()
        made.append(helper.make_node(op, inputs, [output]))
    graph = helper.make_graph(
        made,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, ["N", 1000])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    "nodes",
    [
        ["GlobalAveragePool x -> m", "Conv m weight bias -> c", "Flatten c -> y"],
        ["GlobalAveragePool x -> m", "Conv m weight bias -> c", "Flatten c -> f", "Softmax f -> y"],
        ["GlobalAveragePool x -> m", "Conv m weight -> c", "Add c shift -> r", "Relu r -> s",
         "Flatten s -> f", "Gemm f matrix bias -> y"],
        ["GlobalAveragePool x -> m", "Conv m weight bias -> c", "Relu c -> r", "Add r c -> s",
         "Flatten s -> f", "Gemm f matrix bias -> g", "Softmax g -> y"],
    ],
    ids=["logits", "probabilities", "constant added", "residual"],
)  # fmt: skip
def test_ready_graphs_agree(tmp_path, nodes):
    """Whatever stands at the end, biases and sums are scaled with what they are added to."""
    path = tmp_path / "theirs.onnx"
    onnx.save_model(classifier(*nodes), path)
    full, rounded = both(tmp_path, path, TORCH)

    expected, actual = full.run(pictures(20)), rounded.run(pictures(20))

    assert np.abs(expected - actual).max() <= LARGEST
    assert expected.max() > 10 * LARGEST


def test_operator_that_does_not_scale(tmp_path):
    """A network that might overflow is refused, with the operator and the way out."""
    path = tmp_path / "theirs.onnx"
    nodes = ["GlobalAveragePool x -> m", "Sigmoid m -> s", "Conv s weight -> c", "Flatten c -> y"]
    onnx.save_model(classifier(*nodes), path)

    with pytest.raises(CheckpointError, match=r"Sigmoid .* VGG_PRECISION=float32"):
        write_ready(tmp_path, path, TORCH, "float16")
