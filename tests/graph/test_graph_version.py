"""Serving graphs stay the same, byte for byte, as long as GRAPH_VERSION does.

A serving graph on disk is found again by a key with GRAPH_VERSION in it: where the code writes another
graph under the same version, services go on with the old one. So the files of tiny graphs are pinned here.

The digests are the same on every machine. All weights are powers of two, and each 3x3 kernel has a
single value: whatever order a BLAS adds in, Winograd's transformation then is one multiplication, and
float16 rounds nothing. Only the bias in Winograd's domain comes from a least-squares solution, whose
sixteenth digit may differ; `test_rounding_is_the_same_everywhere` shows that float32 never sees it.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.graph import winograd
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.int8.calibration import Ranges, Seen
from app.graph.int8.int8_graph import write_int8
from app.graph.own_answers import ANSWERS_FILE, OwnAnswers
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import GRAPH_VERSION, write_vgg
from app.graph.vgg import VggConfig
from app.records import Explanation, Layer, Preprocess

SIDE = 64
CONFIG = VggConfig("C", group_channels=(16, 16, 16, 16, 16), hidden=(8, 8), side=SIDE)
"""The configuration with 1x1 kernels too; its channels are a multiple of both blocks."""
RGB = Preprocess(72, SIDE, "RGB", (123.5, 116.25, 103.5), (58.5, 57.25, 57.5))
BGR = Preprocess(72, SIDE, "BGR", (103.5, 116.75, 123.25), (1.0, 1.0, 1.0))

GRAD_CAM = Explanation("grad-cam", ("conv5_3",))
LAYER_CAM = Explanation("layer-cam", ("conv4_3", "conv5_3"))

PINNED = {
    "direct": "68a949221a26d7b05d7ee4bbc2aa812164a4e90ece3755131f5ecda191e21506",
    "direct, BGR": "8a764852bc09b3063f22295f4388d2843b46a10f38310996feddae8e3fd80655",
    "float16": "ba129c032ae870ab75f619b997d319dbad62cf87ec884fcc802c48559945493b",
    "float16, LayerCAM": "abbaceed29808e466e7dcb5abbafa5f04a84ec1a3c09eefacdd65b08bcfd8501",
    "small maps in blocks of 8": "2b0bc77b28237a4537b705393139a0a37b0fbd5d6b4161a273380094b9a93ebe",
    "small maps in blocks of 16": "6d797c7c61fa6ac0d522b9f1758591252b5ecbd3137f73cc17eb127cf63f4f01",
    "all maps in blocks of 8": "4789a2ac85df9995fe7fb4f6dbb9829ec28666c556582994b1c15740a3a84514",
    "all maps in blocks of 16": "08ebc6147c58b88e16097664f0b03cef2c2d7284f794a59e9ffce594e261d366",
    "int8": "c165b2d9850f8a405cf26ff021fb75ad4ff95324688849e094ae3bbde1c1b990",
    "float32, temperature": "8f7dedea89fcc55ca872e6882dc870a97014532ffa4deffbb00b6437cd201e68",
    "float16, temperature": "46b6d44494b002860d2f6a492f1780944e6f56aa3b4689f725c3785322eec54f",
    "ready, logits, temperature": "9dd31037eac251cf49952a5893466d0f175a2688d44a2c5f0d3ffae1b4f3ce21",
    "ready, probabilities, temperature": "4b2eecbc59a9add4acac2bed2a92abe41e6afe05cbbb375add94e86699b95084",
    "ready, logits": "07b110e181629eb94f77d3bee130c126573519517383d591e0f2a8fdc2d9e7bc",
    "ready, probabilities": "288e163c1f4a27355f148f04dcc9aa509e2e8aec36972700b0fb2cde0be2eeea",
}


def layers() -> dict[str, Layer]:
    """Make weights of powers of two, one value a 3x3 kernel, and no two layers alike."""
    made = {}
    for number, (name, shape) in enumerate(CONFIG.weight_shapes().items()):
        places = shape[2] * shape[3] if len(shape) > 2 else 1
        one = np.arange(shape[0] * shape[1])
        weight = np.zeros((one.size, places), np.float32)
        weight[one, one * 7 % places] = 2.0 ** -((one + number) % 6)
        bias = np.float32(2.0) ** -((np.arange(shape[0]) + number) % 5)
        made[name] = Layer(weight.reshape(shape), bias.astype(np.float32))
    return made


def write_classifier(path: Path, *, softmax: bool) -> None:
    """Write somebody's classifier: the mean colour by a matrix."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Conv", ["mean", "weight"], ["sums"]),
        helper.make_node("Flatten", ["sums"], ["logits"]),
        *([helper.make_node("Softmax", ["logits"], ["result"])] if softmax else []),
    ]
    weight = (2.0 ** -(np.arange(3000) % 6)).astype(np.float32).reshape(1000, 3, 1, 1)
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 1000])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def digest(folder: Path) -> str:
    """Hash the files of a graph, by their names."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def assert_pinned(name: str, folder: Path) -> None:
    """Compare the files of a graph with those that this version wrote so far."""
    found = digest(folder)
    assert PINNED[name] == found, (
        f"The serving graph {name!r} has changed: raise GRAPH_VERSION in app/graph/serving_graph.py"
        f" (it is {GRAPH_VERSION}), or for a ready graph READY_VERSION in ready_graph.py, so that no service keeps the old one, and then pin {found!r} here."
    )


@pytest.mark.parametrize(
    ("name", "plan", "precision", "preprocess", "explanation"),
    [
        ("direct", DIRECT, "float32", RGB, GRAD_CAM),
        ("direct, BGR", DIRECT, "float32", BGR, None),
        ("float16", DIRECT, "float16", RGB, GRAD_CAM),
        ("float16, LayerCAM", DIRECT, "float16", RGB, LAYER_CAM),
        ("small maps in blocks of 8", ConvPlan("conv4_1", 8), "float32", RGB, GRAD_CAM),
        ("small maps in blocks of 16", ConvPlan("conv4_1", 16), "float32", RGB, LAYER_CAM),
        ("all maps in blocks of 8", ConvPlan("conv2_1", 8), "float32", RGB, LAYER_CAM),
        ("all maps in blocks of 16", ConvPlan("conv2_1", 16), "float32", RGB, GRAD_CAM),
    ],
)
def test_a_vgg_is_written_as_before(tmp_path, name, plan, precision, preprocess, explanation):
    """Each plan, precision and explanation gives the bytes that this GRAPH_VERSION always gave."""
    made = layers().items()
    write_vgg(tmp_path, CONFIG, made, preprocess, precision, plan, explanation)

    assert_pinned(name, tmp_path)


def test_an_int8_vgg_is_written_as_before(tmp_path):
    """Whole numbers have the bytes that this GRAPH_VERSION always gave; means of 0 correct no bias."""
    seen = {
        name: Seen(np.full(shape[1], 2.0**number, np.float32), np.zeros(shape[1], np.float32))
        for number, (name, shape) in enumerate(CONFIG.weight_shapes().items())
        if number > 0
    }

    write_int8(tmp_path, CONFIG, layers().items(), RGB, Ranges("none", "", 1, seen))

    assert_pinned("int8", tmp_path)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_vgg_with_a_temperature_is_written_as_before(tmp_path, precision):
    """So is what divides its logits."""
    write_vgg(tmp_path, CONFIG, layers().items(), RGB, precision, temperature=1.5)

    assert_pinned(f"{precision}, temperature", tmp_path)


@pytest.mark.parametrize(
    ("name", "softmax", "temperature"),
    [
        ("ready, logits", False, 1.0),
        ("ready, probabilities", True, 1.0),
        ("ready, logits, temperature", False, 1.5),
        ("ready, probabilities, temperature", True, 1.5),
    ],
)
def test_a_ready_graph_is_written_as_before(tmp_path, name, softmax, temperature):
    """Preprocessing and softmax around a classifier have the bytes that this READY_VERSION always gave."""
    theirs, place = tmp_path / "theirs.onnx", tmp_path / "serving"
    place.mkdir()
    write_classifier(theirs, softmax=softmax)
    row = np.full((1, 1000), 1e-3 if softmax else -1, np.float32)
    name_of_output = "result" if softmax else "logits"
    images = np.zeros((1, SIDE, SIDE, 3), np.uint8)

    def ask(_classifier: Path, _preprocess: Preprocess) -> OwnAnswers:
        return OwnAnswers(images, 1, {name_of_output: [row]})

    write_ready(place, theirs, BGR, 1000, ask, temperature)
    (place / ANSWERS_FILE).unlink()

    assert_pinned(name, place)


def test_rounding_is_the_same_everywhere():
    """No number that is rounded to float32 is so near the middle between two that a BLAS decides."""
    transforms = winograd._transforms()
    exact = np.concatenate([transforms.kernel.ravel(), transforms.ones])
    exact = exact[exact != 0]
    rounded = exact.astype(np.float32)
    middles = [
        (rounded.astype(np.float64) + np.nextafter(rounded, np.float32(end))) / 2
        for end in (-np.inf, np.inf)
    ]

    assert np.min(np.abs(exact - middles) / np.abs(exact)) > 1e-12
