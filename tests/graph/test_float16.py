"""float16 answers as float32 does, and nothing in it overflows."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from app.graph.float16 import SCALE, Precision, chosen
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.records import Layer, Preprocess
from app.runtime.cpu_session import CpuSession
from app.setup_errors import CheckpointError
from tests.runtime.rounding import RoundingSession

SIDE = 64
CAFFE = Preprocess(72, SIDE, "BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Preprocess(72, SIDE, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CONFIG = VggConfig("D", group_channels=(8, 12, 16, 20, 24), hidden=(40, 40), side=SIDE)
SQUEEZENET = Preprocess(256, 227, "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
LARGEST = 5e-3
"""Difference of a probability that float16 may make."""


def lively(gain: float) -> dict[str, Layer]:
    """Draw a VGG whose activations are `gain` times its input, and whose logits are about 5."""
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


@pytest.mark.parametrize(
    ("gain", "preprocess"),
    [(1.0, TORCH), (1 / 50, CAFFE), (1.0, CAFFE), (100.0, CAFFE)],
    ids=["torchvision", "caffe", "thousands", "hundred thousands"],
)
def test_vgg_agrees_with_float32(tmp_path, gain, preprocess):
    """A VGG gives the same answers, with activations around 1 and far above the range of float16."""
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


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_divides_the_logits_in_float32(tmp_path, temperature):
    """The answer is softmax of the logits over T, of the same logits as without one."""
    layers, batch = lively(1.0), pictures(20)
    plain, place = write(tmp_path, "float16", layers, TORCH), tmp_path / "divided"
    place.mkdir()
    write_vgg(place, CONFIG, layers.items(), TORCH, "float16", temperature=temperature)

    actual = CpuSession(place / GRAPH_FILE).run(batch)

    logits = np.log(CpuSession(plain).run(batch).astype(np.float64)) / temperature
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), actual, atol=1e-6)


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
    wide = 2 * CONFIG.group_channels[0] * 8 * 3 * 3  # conv1_1 for eight channels, not three
    narrow = layers["conv1_1"].weight.nbytes / 2
    assert (weights + fc8) / 2 - narrow + wide == sum(lengths)
    assert sum(lengths) <= (half.parent / WEIGHTS_FILE).stat().st_size


def test_weight_that_float16_cannot_hold(tmp_path):
    """A weight that would become infinite is refused by name."""
    layers = lively(1.0)
    layers["conv2_1"].weight[0, 0, 0, 0] = 70_000

    with pytest.raises(CheckpointError, match=r"conv2_1_weight .* VGG_PRECISION=float32"):
        write(tmp_path, "float16", layers, TORCH)


@pytest.mark.parametrize(
    ("wanted", "device", "precision"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "float16"),
        ("float32", "cuda", "float32"),
        ("float16", "cpu", "float16"),
    ],
)
def test_auto_is_float16_on_cuda_only(wanted, device, precision):
    """A precision that was set is used on every device."""
    assert precision == chosen(wanted, device)
