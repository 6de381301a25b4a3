"""The int8 graph computes what whole numbers have to be, and that is nearly what float32 gives.

The same tensors go through onnxruntime, and through whole numbers in numpy, here, which know nothing
of its kernels.
"""

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.graph.int8.calibration import (
    PROBE_FILE,
    Photos,
    Ranges,
    Seen,
    calibrate,
    write_probes,
)
from app.graph.int8.int8_graph import int8_size, write_int8
from app.graph.serving_graph import GRAPH_FILE, INPUT, WEIGHTS_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.records import Layer
from app.runtime.ort import CPU, open_graph
from tests.graph.test_serving_graph import (
    BGR,
    GROUPS,
    RGB,
    SIDE,
    lively,
    normalised,
    photos,
    plain_vgg,
    small,
    softmax,
)


def opened(path):
    """Return a function that runs a graph, and gives all outputs by name."""
    session = open_graph(path, CPU, threads=1)
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, {INPUT: batch}), strict=True))


def ranges_of(folder, config, layers, preprocess, images):
    """Calibrate on images."""
    folder.mkdir()
    write_vgg(folder, config, layers.items(), preprocess)
    write_probes(folder, config)
    return calibrate(opened(folder / PROBE_FILE), Photos("drawn", images), config)


def tensors_of(folder):
    """Read all tensors of a graph."""
    model = onnx.load_model(folder / GRAPH_FILE)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def scale_inputs(folder):
    """Read the scales of what goes into each layer."""
    model, tensors = onnx.load_model(folder / GRAPH_FILE), tensors_of(folder)
    layers = [node for node in model.graph.node if node.op_type in {"QLinearConv", "QGemm"}]
    return {node.name: tensors[node.input[1]] for node in layers}


def whole_vgg(configuration, folder, batch, temperature=1.0):
    """The network in whole numbers, from pixels to probabilities."""
    tensors, scales = tensors_of(folder), scale_inputs(folder)
    names = [*scales]

    def rescaled(name, sums):
        """Bring int32 sums to the scale of the next layer, as float32, or to real logits."""
        real = scales[name] * tensors[f"{name}_scales"]
        if name == names[-1]:
            return sums.astype(np.float32) * real
        factor = real / scales[names[names.index(name) + 1]]
        return np.clip(np.rint(sums.astype(np.float32) * factor), 0, 255).astype(np.int64)

    inside = np.full((*batch.shape[:3], 1), 255, np.uint8)
    x = np.concatenate([batch, inside], axis=3).astype(np.int64)
    for group, count in enumerate(GROUPS[configuration], start=1):
        for number in range(1, count + 1):
            name = f"conv{group}_{number}"
            weight = tensors[f"{name}_weight"].astype(np.int64)
            side, kernel = x.shape[1], weight.shape[-1]
            edge = (kernel - 1) // 2
            padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
            sums = tensors[f"{name}_bias"] + sum(
                padded[:, dy : dy + side, dx : dx + side] @ weight[:, :, dy, dx].T
                for dy in range(kernel)
                for dx in range(kernel)
            )
            x = rescaled(name, sums)
        n, side, _, channels = x.shape
        x = x.reshape(n, side // 2, 2, side // 2, 2, channels).max(axis=(2, 4))
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        x = rescaled(name, x @ tensors[f"{name}_weight"].astype(np.int64) + tensors[f"{name}_bias"])
    return softmax(x.astype(np.float64) / temperature)


def distance(expected, actual):
    """Return how far logits are off, relative to how they differ from class to class."""
    logits, others = (np.log(np.maximum(one, 1e-37)) for one in (expected, actual))
    off = others - logits
    return (off - off.mean(axis=1, keepdims=True)).std() / logits.std()


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("configuration", GROUPS)
def test_same_as_whole_numbers_in_numpy(tmp_path, configuration, preprocess):
    """Each configuration gives the probabilities of the integers, down to the rounding of softmax."""
    config, layers, batch = small(configuration), lively(small(configuration)), photos(6)
    ranges = ranges_of(tmp_path / "float32", config, layers, preprocess, batch)

    write_int8(tmp_path, config, layers.items(), preprocess, ranges)

    actual = opened(tmp_path / GRAPH_FILE)(batch)["probabilities"]
    assert 1e-6 > np.abs(whole_vgg(configuration, tmp_path, batch) - actual).max()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_divides_the_logits(tmp_path, temperature):
    """They are the real ones of the whole numbers."""
    config, layers, batch = small("D"), lively(small("D")), photos(6)
    ranges = ranges_of(tmp_path / "float32", config, layers, RGB, batch)

    write_int8(tmp_path, config, layers.items(), RGB, ranges, temperature=temperature)

    actual = opened(tmp_path / GRAPH_FILE)(batch)["probabilities"]
    assert 1e-6 > np.abs(whole_vgg("D", tmp_path, batch, temperature) - actual).max()


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("configuration", GROUPS)
def test_near_the_network_of_the_paper(tmp_path, configuration, preprocess):
    """Each configuration is near float64: logits are off by a twentieth of how they differ."""
    config, layers, batch = small(configuration), lively(small(configuration)), photos(6)
    ranges = ranges_of(tmp_path / "float32", config, layers, preprocess, photos(20))

    write_int8(tmp_path, config, layers.items(), preprocess, ranges)

    actual = opened(tmp_path / GRAPH_FILE)(batch)["probabilities"]
    expected = plain_vgg(configuration, layers, normalised(batch, preprocess))
    assert 0.05 > distance(expected, actual)


@pytest.mark.parametrize(
    "config",
    [
        VggConfig("A", (1, 1, 1, 1, 1), hidden=(1, 1), classes=2, side=32),
        VggConfig("C", (3, 5, 7, 9, 11), hidden=(13, 17), classes=19, side=96),
        VggConfig("E", (17, 33, 4, 65, 6), hidden=(100, 3), classes=50, side=32),
    ],
)
def test_any_shape(tmp_path, config):
    """Channels, hidden layers, classes and sides are free."""
    preprocess = replace(RGB, resize=config.side, crop=config.side)
    layers, batch = lively(config), photos(3, config.side)
    ranges = ranges_of(tmp_path / "float32", config, layers, preprocess, batch)

    write_int8(tmp_path, config, layers.items(), preprocess, ranges)

    actual = opened(tmp_path / GRAPH_FILE)(batch)["probabilities"]
    assert (3, config.classes) == actual.shape
    assert 1e-5 > np.abs(whole_vgg(config.configuration, tmp_path, batch) - actual).max()


def test_batch_mates_do_not_matter(tmp_path):
    """The row of an image is the one that it gets alone: integers do not depend on their order."""
    config, layers, batch = small("D"), lively(small("D")), photos(5)
    ranges = ranges_of(tmp_path / "float32", config, layers, RGB, batch)
    write_int8(tmp_path, config, layers.items(), RGB, ranges)
    run = opened(tmp_path / GRAPH_FILE)

    together = run(batch)["probabilities"]

    alone = np.concatenate([run(batch[i : i + 1])["probabilities"] for i in range(5)])
    assert 1e-6 > np.abs(alone - together).max()


def test_a_factor_between_channels_does_not_matter(tmp_path):
    """Factors from 1/256 to 256 that two layers share cost nothing; without equalisation they do."""
    config, layers, batch = small("D"), lively(small("D")), photos(6)
    random = np.random.default_rng(0)
    shared, before = {}, np.ones(3, np.float32)
    for name, layer in layers.items():
        out = len(layer.bias)
        factors = np.exp2(random.integers(-8, 9, out)).astype(np.float32)
        factors = np.ones_like(factors) if name == "fc8" else factors
        weight = layer.weight.reshape(out, len(before), -1) / before[:, np.newaxis]
        weight *= factors.reshape(out, 1, 1)
        shared[name] = Layer(weight.reshape(layer.weight.shape), layer.bias * factors)
        before = factors
    off = []
    for equalised in (True, False):
        folder = tmp_path / str(equalised)
        ranges = ranges_of(folder, config, shared, RGB, batch)
        write_int8(folder, config, shared.items(), RGB, ranges, equalised=equalised)
        actual = opened(folder / GRAPH_FILE)(batch)["probabilities"]
        off.append(distance(plain_vgg("D", layers, normalised(batch, RGB)), actual))

    assert 0.05 > off[0]
    assert 0.3 < off[1]


def test_channels_that_are_never_used(tmp_path):
    """Where nothing was ever seen, and weights are zeros, the answers are those of the biases."""
    config, layers = small("A"), lively(small("A"))
    layers["conv2_1"] = Layer(
        np.zeros_like(layers["conv2_1"].weight), -np.ones_like(layers["conv2_1"].bias)
    )
    ranges = ranges_of(tmp_path / "float32", config, layers, RGB, photos(2))
    assert not ranges.layers["conv3_1"].maxima.any()

    write_int8(tmp_path, config, layers.items(), RGB, ranges)

    actual = opened(tmp_path / GRAPH_FILE)(photos(2))["probabilities"]
    expected = plain_vgg("A", layers, normalised(photos(2), RGB))
    assert 0.05 > distance(expected, actual)


def test_files_and_their_size(tmp_path):
    """There are the two files of every serving graph; the weights take a byte each."""
    config = VggConfig("D", hidden=(64, 64), side=SIDE)
    inputs = {row.name: row for row in config.layers() if row.weight_shape}
    layers = {name: row.weight_shape[1] for name, row in inputs.items() if name != "conv1_1"}
    ones = {name: Seen(*[np.ones(count, np.float32)] * 2) for name, count in layers.items()}

    write_int8(tmp_path, config, lively(config).items(), RGB, Ranges("", "", 1, ones))

    assert {GRAPH_FILE, WEIGHTS_FILE} == {path.name for path in tmp_path.iterdir()}
    written = (tmp_path / WEIGHTS_FILE).stat().st_size
    assert 0.02 > abs(written / int8_size(config) - 1)


def test_two_layers_are_in_memory_at_a_time(tmp_path):
    """A layer is let go before the one after the next is taken."""
    config, layers = small("D"), lively(small("D"))
    ranges = ranges_of(tmp_path / "float32", config, layers, RGB, photos(2))
    given: list[weakref.ref[Any]] = []
    alive = []

    def read():
        for name, layer in layers.items():
            weight = layer.weight.copy()
            given.append(weakref.ref(weight))
            alive.append(sum(one() is not None for one in given))
            yield name, Layer(weight, layer.bias)
            del weight

    write_int8(tmp_path, config, read(), RGB, ranges)

    assert 2 == max(alive)
