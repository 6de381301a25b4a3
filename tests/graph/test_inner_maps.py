"""The maps inside a served VGG are those of the same layers in PyTorch, whatever form its weights have."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.inner_maps import (
    NoMapsError,
    inner_graph,
    last_of_groups,
    layers_with_maps,
    output_of,
    read_filters,
)
from app.graph.serving_graph import GRAPH_FILE, STEM_FILE, write_vgg
from app.graph.vgg import CONFIGURATIONS, VggConfig
from app.records import Preprocess
from app.runtime.conv_choice import lively_layers
from app.runtime.ort import channel_block
from app.runtime.run_once import run_once

SIDE = 64
RGB = Preprocess(72, SIDE, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocess(72, SIDE, "BGR", (103.939, 116.779, 123.68), (40.0, 50.0, 60.0))
BLOCK = channel_block()
needs_blocks = pytest.mark.skipif(not BLOCK, reason="no layout in blocks on this processor")
plans = pytest.mark.parametrize(
    "plan",
    [
        pytest.param(DIRECT, id="direct"),
        pytest.param(ConvPlan("conv4_1", BLOCK or 16), id="small maps", marks=needs_blocks),
        pytest.param(ConvPlan("conv2_1", BLOCK or 16), id="large maps", marks=needs_blocks),
        pytest.param(ConvPlan("conv1_1", BLOCK or 16), id="all", marks=needs_blocks),
    ],
)


def small(configuration):
    return VggConfig(configuration, group_channels=(16, 16, 32, 32, 32), hidden=(8, 8), side=SIDE)


def picture(side=SIDE):
    return np.random.default_rng(3).integers(0, 256, (1, side, side, 3), np.uint8)


def torch_maps(torch, config, preprocess, image):
    """Compute the maps of every layer in PyTorch."""
    order = slice(None, None, -1 if preprocess.channels == "BGR" else 1)
    pixels = (image[..., order] - np.array(preprocess.mean)) / np.array(preprocess.std)
    value = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    layers = dict(lively_layers(config))
    maps = {}
    with torch.inference_mode():
        for group, kernels in enumerate(CONFIGURATIONS[config.configuration], start=1):
            for number, kernel in enumerate(kernels, start=1):
                one = layers[f"conv{group}_{number}"]
                weight, bias = torch.from_numpy(one.weight), torch.from_numpy(one.bias)
                value = torch.nn.functional.conv2d(value, weight, bias, padding=kernel // 2)
                value = maps[f"conv{group}_{number}"] = torch.relu(value)
            value = maps[f"pool{group}"] = torch.nn.functional.max_pool2d(value, 2)
    return {name: one.numpy() for name, one in maps.items()}


def maps_of(folder, config, preprocess, layers, image=None):
    """Run the graph of these layers."""
    model = inner_graph(folder / GRAPH_FILE, config, preprocess, BLOCK, layers)
    return run_once(model, folder, picture(config.side) if image is None else image, threads=1)


def write(folder, config, preprocess, plan=DIRECT, precision="float32"):
    write_vgg(folder, config, lively_layers(config), preprocess, precision, plan)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch", exc_type=ImportError)


@pytest.mark.torch
@plans
@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("configuration", ["A", "C", "D", "E"])
def test_every_layer_is_that_of_pytorch(tmp_path, torch, configuration, preprocess, plan):
    """Each value of each map is within 1e-5 of the largest one of its layer."""
    config = small(configuration)
    write(tmp_path, config, preprocess, plan)
    expected = torch_maps(torch, config, preprocess, picture())

    actual = maps_of(tmp_path, config, preprocess, layers_with_maps(config))

    assert [output_of(name) for name in expected] == list(actual)
    for name, maps in expected.items():
        assert maps.max() > 0.1, "too small to show a mistake"
        assert maps.shape == actual[output_of(name)].shape
        assert 1e-5 * maps.max() > np.abs(maps - actual[output_of(name)]).max(), name


@pytest.mark.torch
def test_half_precision_is_scaled_back(tmp_path, torch):
    """The tensors of a graph for GPUs give the maps of the layers themselves, within their precision."""
    config = small("D")
    write(tmp_path, config, RGB, precision="float16")
    expected = torch_maps(torch, config, RGB, picture())

    actual = maps_of(tmp_path, config, RGB, ("conv1_1", "conv5_3"))

    for name in ("conv1_1", "conv5_3"):
        maps = expected[name]
        assert 5e-3 * maps.max() > np.abs(maps - actual[output_of(name)]).max()


@needs_blocks
def test_a_layer_of_the_stem_is_found(tmp_path):
    """Where the large maps have a graph of their own, its kernels are found there."""
    config = replace(small("D"), side=224)
    preprocess = replace(RGB, resize=256, crop=224)
    write(tmp_path, config, preprocess, ConvPlan("conv2_1", BLOCK))
    assert (tmp_path / STEM_FILE).exists()
    direct = tmp_path / "direct"
    direct.mkdir()
    write(direct, config, preprocess)

    expected = maps_of(direct, config, preprocess, last_of_groups(config))
    actual = maps_of(tmp_path, config, preprocess, last_of_groups(config))

    for name, maps in expected.items():
        assert 1e-5 * maps.max() > np.abs(maps - actual[name]).max()


def test_only_the_layers_that_lead_there_are_computed(tmp_path):
    """What is asked for is given in order, and nothing behind it is in the graph."""
    config = small("D")
    write(tmp_path, config, RGB)

    model = onnx.load_from_string(
        inner_graph(tmp_path / GRAPH_FILE, config, RGB, BLOCK, ("conv1_2", "pool2"))
    )

    assert ["conv1_2_maps", "pool2_maps"] == [one.name for one in model.graph.output]
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert ["conv1_1", "conv1_2", "conv2_1", "conv2_2"] == convolutions


def test_the_last_convolution_speaks_for_its_group():
    """One layer per group, right before it is pooled."""
    expected = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")

    assert expected == last_of_groups(small("D"))
    assert ("conv1_1", "conv2_1", "conv3_2", "conv4_2", "conv5_2") == last_of_groups(small("A"))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
def test_filters_are_in_the_order_of_the_photo(tmp_path, preprocess, precision):
    """The first channel of a filter is for red, also with weights that read blue first."""
    config = small("D")
    write(tmp_path, config, preprocess, precision=precision)
    weight = dict(lively_layers(config))["conv1_1"].weight
    expected = weight[:, ::-1] if preprocess is BGR else weight

    filters = read_filters(tmp_path / GRAPH_FILE, "conv1_1", preprocess)

    np.testing.assert_allclose(expected, filters, rtol=1e-3 if precision == "float16" else 0)


def test_weights_in_another_form_are_refused(tmp_path):
    """A graph without the tensors of a VGG says so, and guesses nothing."""
    config = small("D")
    write(tmp_path, config, RGB)
    model = onnx.load_model(tmp_path / GRAPH_FILE, load_external_data=False)
    kept = [one for one in model.graph.initializer if not one.name.startswith("conv1_1")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    strange = tmp_path / "strange"
    strange.mkdir()
    onnx.save_model(model, strange / GRAPH_FILE)
    shutil.copyfile(tmp_path / "weights.bin", strange / "weights.bin")

    with pytest.raises(NoMapsError, match="conv1_1"):
        inner_graph(strange / GRAPH_FILE, config, RGB, BLOCK, ("conv1_2",))
    with pytest.raises(NoMapsError, match="conv1_1"):
        read_filters(strange / GRAPH_FILE, "conv1_1", RGB)
