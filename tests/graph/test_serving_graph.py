"""The product's main test: the serving graph computes the paper's network, on the right pixels.

The same numbers go through `app.graph.serving_graph` and `app.runtime.cpu_session`, and through two networks that know
nothing of them: one in plain numpy, here, and one in PyTorch.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.graph.conv_plan import DIRECT, ConvPlan, plans
from app.graph.float16 import Precision
from app.graph.serving_graph import (
    GRAPH_FILE,
    STEM_FILE,
    WEIGHTS_FILE,
    graph_size,
    write_vgg,
)
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.records import Layer, Preprocess
from app.runtime.cpu_session import CpuSession
from app.runtime.ort import channel_block
from tests.graph.blocked import operators

Array: TypeAlias = NDArray[Any]
Layers: TypeAlias = dict[str, Layer]

GROUPS = {  # arXiv 1409.1556, table 1: convolutions of the five groups
    "A": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}
SIDE = 64
# No two numbers of one channel are alike, so that a mistake in their order shows.
RGB = Preprocess(72, SIDE, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocess(72, SIDE, "BGR", (103.939, 116.779, 123.68), (40.0, 50.0, 60.0))
TOLERANCE = 1e-5
"""Largest difference of a probability between two frameworks."""
HALF_TOLERANCE = 5e-3
"""The same, where one computes in float16."""


def small(configuration: str) -> VggConfig:
    """Make a network of the right structure that is small in all else."""
    return VggConfig(configuration, group_channels=(16, 16, 32, 32, 32), hidden=(32, 32), side=SIDE)


def lively(config: VggConfig) -> Layers:
    """Draw weights and biases that make a mistake in any of them show.

    Biases are not zero, and fc8 is twice as large as He's rule has it, so that the
    logits spread as those of a trained network do: at the true size
    the best class of a picture has 16 % to 94 %, and most pictures have an order of their own.
    """
    generator = np.random.default_rng(7)
    layers = {}
    for name, layer in untrained_layers(config):
        if name == "fc8":
            layer.weight[...] *= 2
        bias = generator.normal(0, 0.1, layer.bias.shape).astype(np.float32)
        layers[name] = Layer(weight=layer.weight, bias=bias)
    return layers


def photos(count: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Make pictures that differ as photos do: each has colours and a contrast of its own."""
    generator = np.random.default_rng(count)
    colour = generator.uniform(0, 255, (count, 1, 1, 3))
    noise = generator.normal(0, 1, (count, side, side, 3))
    coarse = generator.normal(0, 1, (count, 8, 8, 3)).repeat(side // 8, 1).repeat(side // 8, 2)
    contrast = generator.uniform(20, 80, (count, 1, 1, 1))
    return np.clip(colour + contrast * (coarse + noise / 2), 0, 255).astype(np.uint8)


def normalised(batch: Array, preprocess: Preprocess) -> Array:
    """Float64 [N, 3, H, W] from uint8 [N, H, W, 3], one channel after the other."""
    order = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}[preprocess.channels]
    planes = [
        (batch[..., channel].astype(np.float64) - preprocess.mean[i]) / preprocess.std[i]
        for i, channel in enumerate(order)
    ]
    return np.stack(planes, axis=1)


def softmax(logits: Array) -> Array:
    """Turn logits [N, 1000] into probabilities, in float64."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def plain_vgg(configuration: str, layers: Layers, x: Array) -> Array:
    """The network of the paper in numpy and float64, from pixels to probabilities."""
    for group, count in enumerate(GROUPS[configuration], start=1):
        for number in range(1, count + 1):
            layer = layers[f"conv{group}_{number}"]
            side, kernel = x.shape[-1], layer.weight.shape[-1]
            edge = (kernel - 1) // 2
            padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
            y = layer.bias.astype(np.float64)[:, None, None] + sum(
                np.einsum(
                    "oi,nihw->nohw",
                    layer.weight[:, :, dy, dx].astype(np.float64),
                    padded[:, :, dy : dy + side, dx : dx + side],
                    optimize=True,
                )
                for dy in range(kernel)
                for dx in range(kernel)
            )
            x = np.maximum(y, 0)
        n, channels, side, _ = x.shape
        x = x.reshape(n, channels, side // 2, 2, side // 2, 2).max(axis=(3, 5))
    x = x.reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        x = x @ layers[name].weight.T.astype(np.float64) + layers[name].bias
        x = x if name == "fc8" else np.maximum(x, 0)
    return softmax(x)


def torch_vgg(torch: Any, configuration: str, layers: Layers, x: Array) -> Array:
    """The same in PyTorch and float32."""
    logits = torch_logits(torch, configuration, layers, x)
    probabilities: Array = torch.softmax(logits, dim=1).numpy()
    return probabilities


def torch_logits(torch: Any, configuration: str, layers: Layers, x: Array) -> Any:
    """The logits in PyTorch and float32; it shares the memory of the weights."""
    tensors = {
        name: (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
        for name, layer in layers.items()
    }
    functional = torch.nn.functional
    with torch.inference_mode():
        value = torch.from_numpy(x.astype(np.float32))
        for group, count in enumerate(GROUPS[configuration], start=1):
            for number in range(1, count + 1):
                weight, bias = tensors[f"conv{group}_{number}"]
                value = torch.relu(functional.conv2d(value, weight, bias, padding="same"))
            value = functional.max_pool2d(value, 2)
        value = value.flatten(1)
        value = torch.relu(functional.linear(value, *tensors["fc6"]))
        value = torch.relu(functional.linear(value, *tensors["fc7"]))
        return functional.linear(value, *tensors["fc8"])


def serve(
    folder: Path,
    config: VggConfig,
    layers: Layers,
    preprocess: Preprocess,
    threads: int = 1,
    plan: ConvPlan = DIRECT,
    precision: Precision = "float32",
    temperature: float = 1.0,
) -> CpuSession:
    """Write the serving graph and load it, as the service does."""
    made = layers.items(), preprocess, precision, plan
    write_vgg(folder, config, *made, temperature=temperature)
    return CpuSession(folder / GRAPH_FILE, threads=threads)


def interpret(model: onnx.ModelProto, given: Array, name: str = "image") -> Array:
    """Run a model in ONNX's own interpreter."""
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=operators(LOWERED.block))
    result, *_ = evaluator.run(None, {name: given})
    return np.asarray(result)


def top_5(probabilities: Array) -> list[list[int]]:
    """Indices of the five best of each row, in order."""
    found: list[list[int]] = np.argsort(-probabilities, axis=1, kind="stable")[:, :5].tolist()
    return found


def assert_same(expected: Array, actual: Array) -> None:
    """Compare probabilities and their order, after a check that there is something to compare."""
    first_6 = -np.sort(-expected, axis=1)[:, :6]
    assert 0.005 < np.median(first_6[:, 0]) < 0.95, "too even, or too sharp, to show a mistake"
    assert (first_6[:, 1:] / first_6[:, :-1]).max() < 0.999, "two classes are as good as equal"
    assert len({tuple(row) for row in top_5(expected)}) > len(expected) / 2, "all answers agree"

    assert np.float32 == actual.dtype
    assert TOLERANCE >= np.abs(expected - actual).max()
    assert top_5(expected) == top_5(actual)


@pytest.fixture(scope="module")
def torch():
    """Give PyTorch, or skip the test."""
    return pytest.importorskip("torch", reason="needs PyTorch", exc_type=ImportError)


@pytest.fixture
def roomy(tmp_path):
    """Give a folder with room for a network of the true size, and empty it at once after."""
    free = shutil.disk_usage(tmp_path).free
    if free < 2 * 2**30:
        pytest.skip(f"needs 2 GiB in {tmp_path}, {free / 2**30:.1f} are free")
    folder = tmp_path / "large"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


BLOCK = channel_block()
LOWERED: Final = ConvPlan("conv1_1", BLOCK or 16)
"""Everything that can be, which no plan does that is tried: all but conv1_1, which has 3 inputs."""

lowering = pytest.mark.skipif(not BLOCK, reason="no layout in blocks on this processor")
"""A lowered graph cannot be loaded without such a layout."""
both = pytest.mark.parametrize(
    "plan",
    [pytest.param(DIRECT, id="direct"), pytest.param(LOWERED, id="lowered", marks=lowering)],
)


# --- parity ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("configuration", GROUPS)
def test_same_as_plain_arithmetic(tmp_path, configuration, preprocess, plan):
    """Each configuration gives the result of the paper's arithmetic, written down in numpy."""
    layers, batch = lively(small(configuration)), photos(6)

    actual = serve(tmp_path, small(configuration), layers, preprocess, plan=plan).run(batch)

    assert_same(plain_vgg(configuration, layers, normalised(batch, preprocess)), actual)


@pytest.mark.torch
@both
@pytest.mark.parametrize("configuration", ["A", "D"])
def test_the_energy_is_that_of_pytorch(tmp_path, torch, configuration, plan):
    """It is the log of the sum of exponentials of the same logits, for the batch that was run last."""
    layers, batch = lively(small(configuration)), photos(6)
    session = serve(tmp_path, small(configuration), layers, RGB, plan=plan)
    logits = torch_logits(torch, configuration, layers, normalised(batch, RGB))
    wanted = torch.logsumexp(logits, dim=1).numpy()
    [last] = session.energies

    for count in (6, 2):
        session.run(batch[:count])
        np.testing.assert_allclose(np.asarray(last()), wanted[:count], rtol=1e-4)


@pytest.mark.torch
@both
@pytest.mark.parametrize("temperature", [0.5, 1.07, 3.0])
def test_a_temperature_divides_the_logits(tmp_path, torch, temperature, plan):
    """It gives PyTorch's softmax of logits / T in the same order; the energy is that of T = 1."""
    layers, batch = lively(small("D")), photos(6)
    session = serve(tmp_path, small("D"), layers, RGB, plan=plan, temperature=temperature)
    logits = torch_logits(torch, "D", layers, normalised(batch, RGB))
    expected = torch.softmax(logits / temperature, dim=1).numpy()
    [last] = session.energies

    actual = session.run(batch)

    assert TOLERANCE >= np.abs(expected - actual).max()
    assert top_5(torch.softmax(logits, dim=1).numpy()) == top_5(actual)
    np.testing.assert_allclose(np.asarray(last()), torch.logsumexp(logits, 1).numpy(), rtol=1e-4)


@pytest.mark.torch
@both
@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("configuration", GROUPS)
def test_same_as_pytorch(tmp_path, torch, configuration, preprocess, plan):
    """Each configuration gives the result of PyTorch with the same numbers."""
    layers, batch = lively(small(configuration)), photos(6)

    actual = serve(tmp_path, small(configuration), layers, preprocess, plan=plan).run(batch)

    assert_same(torch_vgg(torch, configuration, layers, normalised(batch, preprocess)), actual)


@pytest.mark.torch
@pytest.mark.large
@pytest.mark.parametrize(
    "plan",
    [DIRECT, pytest.param(plans(BLOCK)[-1], marks=lowering)],
    ids=["direct", "lowered"],
)
@pytest.mark.parametrize("configuration", ["D", "E"])
def test_same_as_pytorch_at_true_size(roomy, torch, configuration, plan):
    """VGG-16 and VGG-19 of the true size: 20 images, no probability further off than 1e-5."""
    config = VggConfig(configuration)
    layers, batch = lively(config), photos(20, 224)
    preprocess = Preprocess(256, 224, RGB.channels, RGB.mean, RGB.std)
    session = serve(roomy, config, layers, preprocess, threads=2, plan=plan)

    pieces = np.split(batch, 5)
    actual = np.concatenate([session.run(some) for some in pieces])

    expected = [
        torch_vgg(torch, configuration, layers, normalised(some, preprocess)) for some in pieces
    ]
    assert_same(np.concatenate(expected), actual)


CHANNELS: Final = st.one_of(st.integers(1, 40), st.integers(1, 3).map((BLOCK or 16).__mul__))
"""Of a group: any number, and often one that fits into blocks, so that its layers can be lowered."""
NETWORKS: Final = st.builds(
    VggConfig,
    st.sampled_from([*GROUPS]),
    group_channels=st.tuples(*[CHANNELS] * 5),
    hidden=st.tuples(*[st.integers(1, 100)] * 2),
    classes=st.integers(2, 50),
    side=st.integers(1, 4).map((32).__mul__),
)


@pytest.mark.torch
@given(
    NETWORKS,
    st.sampled_from([RGB, BGR]),
    st.sampled_from([DIRECT, *([*plans(BLOCK)[1:], LOWERED] if BLOCK else [])]),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_network_of_any_shape_is_the_same_as_pytorch(torch, config, preprocess, plan, images):
    """Channels, side, hidden layers and classes are free; each plan, and float16, gives PyTorch's answers."""
    preprocess = Preprocess(
        config.side, config.side, preprocess.channels, preprocess.mean, preprocess.std
    )
    layers, batch = lively(config), photos(images, config.side)
    expected = torch_vgg(torch, config.configuration, layers, normalised(batch, preprocess))

    with tempfile.TemporaryDirectory() as folder:
        actual = serve(Path(folder), config, layers, preprocess, plan=plan).run(batch)
    with tempfile.TemporaryDirectory() as folder:
        half = serve(Path(folder), config, layers, preprocess, precision="float16").run(batch)

    assert (images, config.classes) == actual.shape == half.shape
    assert TOLERANCE >= np.abs(expected - actual).max()
    assert HALF_TOLERANCE >= np.abs(expected - half).max()


@lowering
@pytest.mark.parametrize("third", [1, BLOCK + BLOCK // 4, 2 * BLOCK + BLOCK // 2])
def test_large_maps_that_do_not_fit_into_blocks(tmp_path, third):
    """Where the last large maps have no whole blocks, there is no stem, and the answers are the same."""
    channels = BLOCK, BLOCK, third, BLOCK, BLOCK
    config = VggConfig("A", group_channels=channels, hidden=(32, 32), classes=20, side=128)
    preprocess = Preprocess(128, 128, "RGB", RGB.mean, RGB.std)
    layers, batch = lively(config), photos(2, 128)

    actual = serve(tmp_path, config, layers, preprocess, plan=LOWERED).run(batch)

    expected = plain_vgg("A", layers, normalised(batch, preprocess))
    assert TOLERANCE >= np.abs(expected - actual).max()
    assert not (tmp_path / STEM_FILE).exists()


@pytest.mark.parametrize("name", small("D").weight_shapes())
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_comparison_sees_every_tensor(name, part):
    """The tolerance is no blindfold: one tensor off by 1 % is far outside of it."""
    layers, x = lively(small("D")), normalised(photos(6), RGB)
    changed = {part: getattr(layers[name], part) * np.float32(1.01)}
    other = layers | {
        name: Layer(
            weight=changed.get("weight", layers[name].weight),
            bias=changed.get("bias", layers[name].bias),
        )
    }

    difference = np.abs(plain_vgg("D", layers, x) - plain_vgg("D", other, x)).max()

    assert difference > 2 * TOLERANCE


# --- batches ---------------------------------------------------------------------------


@both
def test_rows_do_not_depend_on_the_batch(tmp_path, plan):
    """For 1 to 5 images, each row is the one that its image gets alone."""
    layers, batch = lively(small("D")), photos(5)
    session = serve(tmp_path, small("D"), layers, RGB, plan=plan)
    alone = np.concatenate([session.run(batch[i : i + 1]) for i in range(5)])

    for count in range(1, 6):
        together = session.run(batch[:count])

        assert (count, 1000) == together.shape
        assert 1e-6 > np.abs(alone[:count] - together).max()


@both
def test_batch_mates_do_not_matter(tmp_path, plan):
    """The row of an image does not depend on black, white and noisy images beside it, nor on its place."""
    layers, batch = lively(small("D")), photos(4)
    session = serve(tmp_path, small("D"), layers, RGB, plan=plan)
    batch[1], batch[2] = 0, 255

    rows = session.run(batch[::-1].copy())[::-1]

    assert 1e-6 > np.abs(session.run(batch) - rows).max()


def test_probabilities_sum_to_one(tmp_path):
    """Softmax is inside, once: rows sum to 1, and are not the softmax of a softmax."""
    rows = serve(tmp_path, small("B"), lively(small("B")), RGB).run(photos(3))

    assert np.float32 == rows.dtype
    assert pytest.approx([1, 1, 1], abs=1e-5) == rows.sum(axis=1)
    assert rows.min() >= 0
    assert rows.max() > 2 / 1000  # the softmax of a softmax is at most e / 1000


# --- preprocessing ---------------------------------------------------------------------


def test_rows_stay_rows(tmp_path):
    """Height and width are not exchanged: a picture and its transpose give different answers."""
    layers, batch = lively(small("A")), photos(2)
    session = serve(tmp_path, small("A"), layers, RGB)
    turned = np.ascontiguousarray(batch.transpose(0, 2, 1, 3))

    assert np.abs(session.run(batch) - session.run(turned)).max() > 100 * TOLERANCE


def test_confused_channels_are_far_off(tmp_path):
    """RGB weights on BGR pixels give answers far outside the tolerance of these tests."""
    layers, batch = lively(small("A")), photos(6)
    swapped = np.ascontiguousarray(batch[..., ::-1])

    actual = serve(tmp_path, small("A"), layers, RGB).run(swapped)

    expected = plain_vgg("A", layers, normalised(batch, RGB))
    assert np.abs(expected - actual).max() > 100 * TOLERANCE
    assert top_5(expected) != top_5(actual)


# --- the file --------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", GROUPS)
def test_file_is_valid_onnx(tmp_path, configuration):
    """ONNX's own checker passes it, shapes included, and both files of a lowered one."""
    config = small(configuration)
    write_vgg(tmp_path, config, lively(config).items(), BGR)
    onnx.checker.check_model(str(tmp_path / GRAPH_FILE), full_check=True)

    write_vgg(tmp_path, config, lively(config).items(), BGR, plan=LOWERED)

    onnx.checker.check_model(str(tmp_path / STEM_FILE), full_check=True)
    onnx.checker.check_model(str(tmp_path / GRAPH_FILE), full_check=True)


def test_reference_evaluator_agrees(tmp_path):
    """ONNX's own interpreter gives the same: the graph does not depend on quirks of onnxruntime."""
    layers, batch = lively(small("C")), photos(2)
    session = serve(tmp_path, small("C"), layers, BGR)

    expected = interpret(onnx.load(tmp_path / GRAPH_FILE), batch)

    assert TOLERANCE > np.abs(expected - session.run(batch)).max()


@lowering
@pytest.mark.parametrize("images", [1, 2])
def test_reference_evaluator_agrees_on_a_lowered_graph(tmp_path, images):
    """ONNX's own interpreter gives the same for a stem and the graph after it."""
    config, layers, batch = small("B"), lively(small("B")), photos(images)
    session = serve(tmp_path, config, layers, RGB, plan=LOWERED)
    stem, rest = (onnx.load(tmp_path / name) for name in (STEM_FILE, GRAPH_FILE))

    maps = [interpret(stem, batch[i : i + 1]) for i in range(images)]
    expected = interpret(rest, np.concatenate(maps, axis=1), "maps")

    assert TOLERANCE > np.abs(expected - session.run(batch)).max()


def test_a_lowered_graph_holds_no_weight_twice(tmp_path):
    """A kernel is there in Winograd's domain or as it was; the file is as large as they are."""
    config = small("D")
    write_vgg(tmp_path, config, lively(config).items(), RGB, plan=LOWERED)
    graphs = [
        onnx.load(tmp_path / name, load_external_data=False).graph
        for name in (STEM_FILE, GRAPH_FILE)
    ]
    names = [t.name for graph in graphs for t in graph.initializer if t.external_data]

    plain = [name for name in lively(config) if "fc" in name or name == "conv1_1"]
    expected = {f"{name}_{'weight' if name in plain else 'winograd'}" for name in lively(config)}
    assert expected | {f"{name}_bias" for name in lively(config)} == set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("plan", [DIRECT, LOWERED], ids=["direct", "lowered"])
def test_its_size_is_known_before(tmp_path, plan):
    """The estimate of the disk space is right within a page per tensor."""
    config = small("D")
    write_vgg(tmp_path, config, lively(config).items(), RGB, plan=plan)

    written = (tmp_path / WEIGHTS_FILE).stat().st_size
    off = written - graph_size(config, "float32", plan)
    assert abs(off) < 2 * 4096 * len(config.weight_shapes())


def test_input_and_output(tmp_path):
    """Pixels in, uint8 [N, crop, crop, 3]; probabilities [N, 1000] and energies [N] out, float32."""
    write_vgg(tmp_path, small("A"), lively(small("A")).items(), RGB)
    graph = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph

    assert [("image", onnx.TensorProto.UINT8, ["N", 64, 64, 3])] == list(
        map(described, graph.input)
    )
    assert [
        ("probabilities", onnx.TensorProto.FLOAT, ["N", 1000]),
        ("energy", onnx.TensorProto.FLOAT, ["N"]),
    ] == list(map(described, graph.output))


def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    """Name, type and shape of an input or output."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]


def test_a_stem_takes_one_image(tmp_path):
    """The graph after it takes the maps of a batch, and is made for a CPU."""
    write_vgg(tmp_path, small("D"), lively(small("D")).items(), RGB, plan=LOWERED)
    stem, rest = (
        onnx.load(tmp_path / name, load_external_data=False).graph
        for name in (STEM_FILE, GRAPH_FILE)
    )

    assert [("image", onnx.TensorProto.UINT8, [1, 64, 64, 3])] == list(map(described, stem.input))
    # 16x16 pixels of 16 channels, and a row of zeros.
    rows = 16 * 16 * 16 // LOWERED.block + 1
    maps = [rows, 1, LOWERED.block], [rows, "N", LOWERED.block]
    assert [("maps", onnx.TensorProto.FLOAT, maps[0])] == list(map(described, stem.output))
    assert [("maps", onnx.TensorProto.FLOAT, maps[1])] == list(map(described, rest.input))
    assert "If" in {node.op_type for node in rest.node}


def test_layers_have_the_names_of_the_paper(tmp_path):
    """The file has the layers conv1_1 to fc8, in the order of the paper."""
    write_vgg(tmp_path, small("E"), lively(small("E")).items(), RGB)
    nodes = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph.node
    names = [row.name for row in small("E").layers()]

    assert names == [node.name for node in nodes if node.name in names]


def test_weights_lie_beside_the_graph_each_on_a_page(tmp_path):
    """The graph itself is small, and each tensor can be mapped from the other file."""
    layers = lively(small("A"))
    write_vgg(tmp_path, small("A"), layers.items(), RGB)
    model = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False)
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.external_data
    }
    content = (tmp_path / WEIGHTS_FILE).read_bytes()

    assert {f"{n}_{p}" for n in layers for p in ("weight", "bias")} == places.keys()
    assert {WEIGHTS_FILE} == {place["location"] for place in places.values()}
    assert {0} == {int(place["offset"]) % 4096 for place in places.values()}
    start = int(places["fc7_weight"]["offset"])
    assert layers["fc7"].weight.tobytes() == content[start:][: layers["fc7"].weight.nbytes]


def test_layers_are_taken_one_at_a_time(tmp_path):
    """Each layer is on the disk before the next is read: only one has to fit into memory."""
    sizes = []

    def slowly():
        for name, layer in lively(small("A")).items():
            sizes.append((tmp_path / WEIGHTS_FILE).stat().st_size)
            yield name, layer

    write_vgg(tmp_path, small("A"), slowly(), RGB)

    assert sizes == sorted(sizes)
    assert sizes[-1] > 0


def test_odd_memory_layouts_are_written_right(tmp_path):
    """Keras weights come transposed, others big-endian: the file has them in order all the same."""
    layers = lively(small("A"))
    odd = {
        name: Layer(weight=np.asfortranarray(layer.weight), bias=layer.bias.astype(np.dtype(">f4")))
        for name, layer in layers.items()
    }
    (tmp_path / "plain").mkdir()
    (tmp_path / "odd").mkdir()

    write_vgg(tmp_path / "plain", small("A"), layers.items(), RGB)
    write_vgg(tmp_path / "odd", small("A"), odd.items(), RGB)

    for name in (GRAPH_FILE, WEIGHTS_FILE):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "odd" / name).read_bytes()


def test_same_weights_give_the_same_bytes(tmp_path):
    """Two builds are equal bit by bit, and the second overwrites the first."""
    config, layers = small("A"), lively(small("A"))
    write_vgg(tmp_path, config, layers.items(), RGB)
    first = [(tmp_path / name).read_bytes() for name in (GRAPH_FILE, WEIGHTS_FILE)]

    write_vgg(tmp_path, config, layers.items(), RGB)

    assert first == [(tmp_path / name).read_bytes() for name in (GRAPH_FILE, WEIGHTS_FILE)]
