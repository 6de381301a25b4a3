"""A network that takes photos of any size is the fully convolutional form of PyTorch, on the same weights."""

import numpy as np
import onnx
import pytest

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.dense import dense_graph
from app.graph.inner_maps import NoMapsError
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE, write_vgg
from app.graph.vgg import CONFIGURATIONS, VggConfig
from app.records import Preprocess
from app.runtime.conv_choice import lively_layers
from app.runtime.ort import channel_block
from app.runtime.run_once import run_once

RGB = Preprocess(72, 64, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocess(72, 64, "BGR", (103.939, 116.779, 123.68), (40.0, 50.0, 60.0))
BLOCK = channel_block()
needs_blocks = pytest.mark.skipif(not BLOCK, reason="no layout in blocks on this processor")
plans = pytest.mark.parametrize(
    "plan",
    [
        pytest.param(DIRECT, id="direct"),
        pytest.param(ConvPlan("conv4_1", BLOCK or 16), id="small maps", marks=needs_blocks),
        pytest.param(ConvPlan("conv1_1", BLOCK or 16), id="all", marks=needs_blocks),
    ],
)
SIZES = [(64 + 13 * n % 71, 64 + 29 * n % 97) for n in range(20)]
"""Height and width of 20 photos, none a multiple of the other; the first is a crop."""


def small(configuration="D", side=64):
    channels = (16, 16, 32, 32, 32)
    return VggConfig(configuration, channels, hidden=(24, 16), classes=10, side=side)


def picture(height, width):
    shape = (1, height, width, 3)
    return np.random.default_rng(height + width).integers(0, 256, shape, np.uint8)


def torch_scores(torch, config, preprocess, image):
    """Compute the map of scores in PyTorch, each fully connected layer as a convolution."""
    order = slice(None, None, -1 if preprocess.channels == "BGR" else 1)
    pixels = (image[..., order] - np.array(preprocess.mean)) / np.array(preprocess.std)
    value = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    layers = {
        name: (torch.from_numpy(one.weight), torch.from_numpy(one.bias))
        for name, one in lively_layers(config)
    }
    convolve = torch.nn.functional.conv2d
    with torch.inference_mode():
        for group, kernels in enumerate(CONFIGURATIONS[config.configuration], start=1):
            for number, kernel in enumerate(kernels, start=1):
                tensors = layers[f"conv{group}_{number}"]
                value = convolve(value, *tensors, padding=kernel // 2).relu()
            value = torch.nn.functional.max_pool2d(value, 2)
        side = config.side // 32
        for name in ("fc6", "fc7", "fc8"):
            weight, bias = layers[name]
            value = convolve(value, weight.reshape(len(weight), -1, side, side), bias)
            value, side = (value if name == "fc8" else value.relu()), 1
    return value.numpy()


def scores_of(folder, config, preprocess, *images):
    model = dense_graph(folder / GRAPH_FILE, config, preprocess, BLOCK)
    return [run_once(model, folder, image, threads=1)["scores"] for image in images]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch", exc_type=ImportError)


@pytest.mark.torch
@plans
def test_scores_are_those_of_pytorch_on_photos_of_odd_sizes(tmp_path, torch, plan):
    """At each position of 20 photos (3 with lowered layers) every score is within 1e-5 of the largest."""
    config = small()
    write_vgg(tmp_path, config, lively_layers(config), RGB, plan=plan)

    sizes = SIZES if plan == DIRECT else SIZES[::7]
    found = scores_of(tmp_path, config, RGB, *[picture(*size) for size in sizes])

    for size, actual in zip(sizes, found, strict=True):
        expected = torch_scores(torch, config, RGB, picture(*size))

        assert expected.shape == actual.shape
        assert (size[0] // 32 - 1, size[1] // 32 - 1) == actual.shape[2:]
        assert 1e-5 * np.abs(expected).max() > np.abs(expected - actual).max(), size


@pytest.mark.torch
@pytest.mark.parametrize("side", [32, 96, 224])
@pytest.mark.parametrize("configuration", ["A", "C", "E"])
def test_any_member_of_the_family_at_any_side(tmp_path, torch, configuration, side):
    """The kernel of fc6 is as large as the maps after the last pooling; BGR stays BGR."""
    config = small(configuration, side)
    write_vgg(tmp_path, config, lively_layers(config), BGR)
    image = picture(side + 33, side + 70)

    expected = torch_scores(torch, config, BGR, image)
    [actual] = scores_of(tmp_path, config, BGR, image)

    assert (1, 10, 2, 3) == actual.shape
    assert 1e-5 * np.abs(expected).max() > np.abs(expected - actual).max()


@pytest.mark.torch
def test_half_precision_is_scaled_back(tmp_path, torch):
    """The tensors of a graph for GPUs give the scores of the layers themselves, within their precision."""
    config = small()
    write_vgg(tmp_path, config, lively_layers(config), RGB, precision="float16")
    image = picture(100, 140)

    expected = torch_scores(torch, config, RGB, image)
    [actual] = scores_of(tmp_path, config, RGB, image)

    assert 5e-3 * np.abs(expected).max() > np.abs(expected - actual).max()


@plans
def test_all_weights_are_those_of_the_serving_graph(tmp_path, plan):
    """The model itself holds no weight: each lies in the file beside it, where the other graph has it."""
    config = small()
    write_vgg(tmp_path, config, lively_layers(config), RGB, plan=plan)
    weights = (tmp_path / WEIGHTS_FILE).read_bytes()

    made = dense_graph(tmp_path / GRAPH_FILE, config, RGB, BLOCK)

    inside = [one for one in onnx.load_from_string(made).graph.initializer if one.raw_data]
    assert 9 * 36 >= max(int(np.prod(one.dims)) for one in inside), "a transform is the largest"
    fc6 = next(o for o in onnx.load_from_string(made).graph.initializer if o.name == "fc6_weight")
    assert [24, 32, 2, 2] == list(fc6.dims)
    place = {entry.key: int(entry.value) for entry in fc6.external_data if entry.key != "location"}
    stored = weights[place["offset"] : place["offset"] + place["length"]]
    assert dict(lively_layers(config))["fc6"].weight.tobytes() == stored


def test_weights_in_another_form_are_refused(tmp_path):
    """A graph without the tensors of a VGG says so, and guesses nothing."""
    config = small()
    write_vgg(tmp_path, config, lively_layers(config), RGB)
    model = onnx.load_model(tmp_path / GRAPH_FILE, load_external_data=False)
    kept = [one for one in model.graph.initializer if not one.name.startswith("fc7")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save_model(model, tmp_path / GRAPH_FILE)

    with pytest.raises(NoMapsError, match="fc7"):
        dense_graph(tmp_path / GRAPH_FILE, config, RGB, BLOCK)
