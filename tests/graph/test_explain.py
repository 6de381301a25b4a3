"""Explanations are the gradients of the network: those of PyTorch's autograd, of the same weights.

The maps, the logits and their parts of app/graph/explain.py are compared with Grad-CAM and LayerCAM as their
papers write them down, in PyTorch.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.graph.conv_plan import DIRECT, ConvPlan, plans
from app.graph.explain import EXPLAIN_FILE, resolved
from app.graph.serving_graph import GRAPH_FILE, STEM_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.images.header_limits import ImageLimits
from app.images.map_box import find_box
from app.images.prepare import prepare
from app.records import Explanation, Layer, Preprocess
from app.runtime.cpu_session import CpuSession
from app.serving.warmup import GOLDEN_PHOTO
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, read_manifest
from tests.graph.test_serving_graph import (
    BLOCK,
    GROUPS,
    RGB,
    lively,
    lowering,
    normalised,
    photos,
    roomy,
    small,
    torch,
)

__all__ = ["roomy", "torch"]

PHOTOS = Path(__file__).resolve().parents[1] / "photos"
MOST_OFF = 1e-5
"""Of the largest value of a map, before its ReLU."""
both = pytest.mark.parametrize(
    "plan",
    [DIRECT, pytest.param(plans(BLOCK)[-1], marks=lowering)],
    ids=["direct", "lowered"],
)
GRAD_CAM = Explanation()
LAYER_CAM = Explanation("layer-cam", ("conv5_1",))
OF_ALL = Explanation("layer-cam", ("pool3", "conv4_1", "pool4", "conv5_2", "pool5"))
BEFORE = Explanation("grad-cam", ("conv3_1", "pool5"))


def torch_evidence(torch: Any, configuration, layers, x, rows, classes, against, explanation):
    """Compute maps, before their ReLU, logits, cells and constants for pairs, by autograd."""
    functional = torch.nn.functional
    tensors = {
        name: (
            torch.from_numpy(one.weight.astype(x.dtype)),
            torch.from_numpy(one.bias.astype(x.dtype)),
        )
        for name, one in layers.items()
    }
    maps, logits, cells, constants = [], [], [], []
    for row, label, other in zip(rows, classes, against, strict=True):
        value, kept = torch.from_numpy(x[row : row + 1]), {}
        for group, count in enumerate(GROUPS[configuration], start=1):
            for number in range(1, count + 1):
                name = f"conv{group}_{number}"
                value = torch.relu(functional.conv2d(value, *tensors[name], padding="same"))
                if name in explanation.layers:
                    kept[name] = value.requires_grad_()
            value = functional.max_pool2d(value, 2)
            if f"pool{group}" in explanation.layers:
                kept[f"pool{group}"] = value.requires_grad_()
        pool = value.requires_grad_() if not kept else value
        value = torch.relu(functional.linear(pool.flatten(1), *tensors["fc6"]))
        value = torch.relu(functional.linear(value, *tensors["fc7"]))
        scores = functional.linear(value, *tensors["fc8"])[0]
        score = scores[label] - (scores[other] if other >= 0 else 0)
        gradient, *gradients = torch.autograd.grad(score, [pool, *kept.values()])
        found = []
        for one, g in zip(kept.values(), gradients, strict=True):
            weights = g.mean((2, 3), keepdim=True) if explanation.method == "grad-cam" else g.relu()
            found.append((weights * one).sum(1, keepdim=True).detach())
        if len(found) > 1:
            side = max(one.shape[-1] for one in found)
            found = [one.relu() / one.max().clamp(min=1e-30) for one in found]
            found = [
                functional.interpolate(one, (side, side), mode="bilinear", align_corners=False)
                for one in found
            ]
        maps.append(sum(found)[0, 0].numpy())
        parts = (gradient * pool).sum(1)[0].detach()
        cells.append(parts.numpy())
        logits.append(score.item())
        constants.append(score.item() - parts.sum().item())
    return np.stack(maps), np.array(logits), np.stack(cells), np.array(constants)


def question(images, classes=1000):
    """Ask about the images of a batch but for the last, the last one first, three classes each."""
    rows = np.arange(max(1, images - 1))[::-1].copy()
    asked = np.random.default_rng(images).integers(classes, size=(len(rows), 3))
    against = np.where(asked % 3 == 0, (asked + 1) % classes, -1)
    return rows, asked, against


def explained(folder, config, layers, preprocess, explanation, plan=DIRECT, **options):
    """Write both graphs and load them, as the service does."""
    write_vgg(
        folder, config, layers.items(), preprocess, plan=plan, explanation=explanation, **options
    )
    return CpuSession(folder / GRAPH_FILE, threads=2)


def assert_evidence(expected, actual, threshold, crop):
    """Compare maps, boxes, logits and cells."""
    sums, logits, cells, constants = expected
    maps = np.maximum(sums, 0)
    found = actual.maps.reshape(maps.shape)
    assert (maps.max(axis=(1, 2)) > 0).mean() > 0.6, "too few maps to compare"
    largest = np.abs(sums).max(axis=(1, 2), keepdims=True)
    assert MOST_OFF >= (np.abs(found - maps) / np.where(largest > 0, largest, 1)).max()
    assert [find_box(one.astype(np.float32), threshold, crop) for one in maps] == [
        find_box(one, threshold, crop) for one in found
    ]
    assert pytest.approx(logits, abs=1e-4, rel=1e-4) == actual.logits.ravel()
    assert np.abs(cells - actual.cells.reshape(cells.shape)).max() < 1e-5 * np.abs(cells).max()
    assert pytest.approx(constants, abs=1e-4, rel=1e-3) == actual.constants.ravel()


@pytest.mark.torch
@both
@pytest.mark.parametrize(
    "explanation",
    [GRAD_CAM, LAYER_CAM, OF_ALL, BEFORE],
    ids=["grad-cam", "layer-cam", "layers", "grad-cam of two"],
)
@pytest.mark.parametrize("configuration", GROUPS)
def test_same_as_autograd(tmp_path, torch, configuration, explanation, plan):
    """Maps, boxes and parts of logits are those of autograd, for batches of 1 to 4 and several classes."""
    config = small(configuration)
    explanation = resolved(explanation, config)
    layers = lively(config)
    session = explained(tmp_path, config, layers, RGB, explanation, plan)
    for images in (1, 2, 4):
        batch = photos(images)
        rows, classes, against = question(images)

        probabilities, features = session.run_keeping(batch)
        actual = session.explain(features, rows, classes, against)

        assert session.run(batch).tolist() == probabilities.tolist()
        pairs = np.repeat(rows, 3), classes.ravel(), against.ravel()
        x = normalised(batch, RGB)
        expected = torch_evidence(torch, configuration, layers, x, *pairs, explanation)
        assert_evidence(expected, actual, explanation.threshold, config.side)


@pytest.mark.torch
@lowering
def test_no_layer_that_is_explained_is_in_a_stem(tmp_path, torch):
    """A large map that is explained is computed for the batch: what is before it stays in the stem."""
    config = replace(small("B"), side=128)
    explanation = Explanation("layer-cam", ("conv3_2",))
    preprocess = replace(RGB, resize=128, crop=128)
    layers, batch = lively(config), photos(2, 128)
    session = explained(tmp_path, config, layers, preprocess, explanation, plans(BLOCK)[-1])
    _, features = session.run_keeping(batch)

    actual = session.explain(features, np.arange(2), np.array([[3], [5]]))

    x = normalised(batch, preprocess)
    pairs = [0, 1], [3, 5], [-1, -1]
    expected = torch_evidence(torch, "B", layers, x, *pairs, explanation)
    assert_evidence(expected, actual, explanation.threshold, config.side)
    assert "conv3_1" in (tmp_path / STEM_FILE).read_bytes().decode("latin1")
    assert "conv3_2" not in (tmp_path / STEM_FILE).read_bytes().decode("latin1")


def loaded(name):
    """Read a model that comes with the service: its network, layers, preprocessing and explanation."""
    manifest = read_manifest(BUILT_IN / f"{name}.toml")
    config = network_of(manifest, load_labels(manifest.labels, BUILT_IN))
    assert config is not None
    assert manifest.checkpoint is not None
    layers = read_checkpoint(BUILT_IN / manifest.checkpoint.file, "safetensors", config)
    return config, layers, manifest.preprocess, manifest.explanation


@pytest.mark.torch
@pytest.mark.parametrize("own", [True, False], ids=["its own", "grad-cam"])
@pytest.mark.parametrize("plan", [DIRECT, pytest.param(ConvPlan("conv4_1", BLOCK), marks=lowering)])
def test_a_trained_network_is_the_same_as_autograd(tmp_path, torch, own, plan):
    """The small trained model, its best classes of photos: maps, boxes and parts as by autograd."""
    config, layers, preprocess, explanation = loaded("vgg16-mini")
    explanation = explanation if own else resolved(GRAD_CAM, config)
    session = explained(tmp_path, config, layers, preprocess, explanation, plan)
    pictures = real_photos(preprocess)
    for images in (1, 4):
        batch = pictures[:images]
        probabilities, features = session.run_keeping(batch)
        classes = np.argsort(-probabilities, axis=1)[:, :5].astype(np.int64)

        actual = session.explain(features, np.arange(images), classes)

        pairs = np.repeat(np.arange(images), 5), classes.ravel(), np.full(classes.size, -1)
        x = normalised(batch, preprocess)
        expected = torch_evidence(torch, "D", layers, x, *pairs, explanation)
        assert_evidence(expected, actual, explanation.threshold, config.side)


@pytest.mark.torch
@pytest.mark.large
@pytest.mark.parametrize("configuration", ["D", "E"])
@both
def test_same_as_autograd_at_true_size(roomy, torch, configuration, plan):
    """VGG-16 and VGG-19 of the true size: maps within 1e-5 of their largest value, boxes equal."""
    config = VggConfig(configuration)
    explanation = resolved(GRAD_CAM, config)
    preprocess = replace(RGB, resize=256, crop=224)
    layers = lively(config)
    session = explained(roomy, config, layers, preprocess, explanation, plan)
    batch = photos(4, 224)
    for images in (1, 4):
        probabilities, features = session.run_keeping(batch[:images])
        classes = np.argsort(-probabilities, axis=1)[:, :2].astype(np.int64)

        actual = session.explain(features, np.arange(images), classes)

        pairs = np.repeat(np.arange(images), 2), classes.ravel(), np.full(classes.size, -1)
        x = normalised(batch[:images], preprocess).astype(np.float32)
        expected = torch_evidence(torch, configuration, layers, x, *pairs, explanation)
        assert_evidence(expected, actual, explanation.threshold, 224)


def real_photos(preprocess):
    """Return photos, four views of each of those in the repository, as a network sees them."""
    files = [*sorted(PHOTOS.glob("*.jpg")), GOLDEN_PHOTO, BUILT_IN / "vgg16-mini.jpg"]
    views = []
    for file in files:
        pixels, _ = prepare(file.read_bytes(), preprocess, ImageLimits(), exact=True)
        views += [pixels, pixels[:, ::-1], 255 - pixels, pixels // 2]
    return np.ascontiguousarray(np.stack(views))


def test_cells_add_up_to_logits_of_photos(tmp_path):
    """On 20 photos, for the best and the worst classes, cells and constant are the logit to 1e-4 of it."""
    config, layers, preprocess, explanation = loaded("vgg16-mini")
    session = explained(tmp_path, config, layers, preprocess, explanation)
    batch = real_photos(preprocess)[:20]
    assert 20 == len(batch)
    probabilities, features = session.run_keeping(batch)
    order = np.argsort(probabilities, axis=1)
    classes = np.concatenate([order[:, -5:], order[:, :2]], axis=1).astype(np.int64)

    found = session.explain(features, np.arange(20), classes)

    sums = found.cells.sum(axis=(2, 3), dtype=np.float64) + found.constants
    assert pytest.approx(found.logits, rel=1e-4, abs=1e-4) == sums
    logits = np.log(np.take_along_axis(probabilities, classes, axis=1))
    expected = logits - logits[:, :1]
    assert pytest.approx(expected, rel=1e-3, abs=1e-3) == found.logits - found.logits[:, :1]


def test_a_comparison_is_the_difference(tmp_path):
    """Why c and not d: cells, constants and logits are those of c minus those of d; -1 compares with none."""
    config, layers, preprocess, explanation = loaded("vgg16-mini")
    session = explained(tmp_path, config, layers, preprocess, explanation)
    batch = real_photos(preprocess)[:3]
    _, features = session.run_keeping(batch)
    rows, one, other = np.array([2, 0]), np.array([[5, 7], [9, 11]]), np.array([[6, 5], [10, 0]])

    found = session.explain(features, rows, one, other)

    own, theirs = (session.explain(features, rows, classes) for classes in (one, other))
    for name in ("logits", "cells", "constants"):
        expected = getattr(own, name) - getattr(theirs, name)
        assert np.abs(expected - getattr(found, name)).max() < 1e-5 * np.abs(expected).max() + 1e-5
    none = session.explain(features, rows, one, np.full_like(one, -1))
    np.testing.assert_array_equal(own.maps, none.maps)


def test_pairs_do_not_depend_on_their_company(tmp_path):
    """What is said of an image and a class is the same alone, and beside others in one run."""
    config, layers, preprocess, explanation = loaded("vgg16-mini")
    session = explained(tmp_path, config, layers, preprocess, explanation)
    batch = real_photos(preprocess)[:4]
    _, features = session.run_keeping(batch)
    classes = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])

    together = session.explain(features, np.array([3, 0, 1]), classes)

    alone = session.explain(session.run_keeping(batch[:1])[1], np.array([0]), classes[1:2, 2:])
    largest = together.maps[1, 2].max()
    assert np.abs(together.maps[1, 2] - alone.maps[0, 0]).max() <= 1e-5 * largest
    assert pytest.approx(together.cells[1, 2], abs=1e-5) == alone.cells[0, 0]


def test_parts_are_left_out(tmp_path):
    """Without cells, maps and logits are the same bits."""
    config, layers = small("D"), lively(small("D"))
    session = explained(tmp_path, config, layers, RGB, resolved(GRAD_CAM, config))
    _, features = session.run_keeping(photos(2))
    asked = np.array([0, 1]), np.array([[1, 2], [3, 4]])

    found = session.explain(features, *asked, cells=False)

    full = session.explain(features, *asked)
    assert found.cells is None
    assert found.constants is None
    np.testing.assert_array_equal(full.maps, found.maps)
    np.testing.assert_array_equal(full.logits, found.logits)


@pytest.mark.parametrize("explanation", [GRAD_CAM, OF_ALL], ids=["grad-cam", "layer-cam"])
def test_float16_is_near_float32(tmp_path, explanation):
    """On a GPU layers are float16, on a CPU not: most maps differ by less than 0.5 %."""
    config, layers = small("D"), lively(small("D"))
    explanation = resolved(explanation, config)
    batch, asked = photos(4), (np.arange(4), np.arange(12).reshape(4, 3))
    seen = []
    for precision in ("float32", "float16"):
        place = tmp_path / precision
        place.mkdir()
        session = explained(place, config, layers, RGB, explanation, precision=precision)
        seen.append(session.explain(session.run_keeping(batch)[1], *asked))

    exact, half = seen

    # Where two pixels are equal in float16, pooling may take another, and the gradient go elsewhere.
    off = np.abs(exact.maps - half.maps).mean(axis=(2, 3)) / exact.maps.max()
    assert np.median(off) < 0.005
    assert off.max() < 0.05
    assert np.abs(exact.cells - half.cells).max() < 0.02 * np.abs(exact.cells).max()
    sums = half.cells.sum(axis=(2, 3)) + half.constants
    assert np.abs(sums - half.logits).max() < 0.02 * np.abs(half.logits).max()


def ranks(values):
    """Return the rank of each value."""
    return np.argsort(np.argsort(values.ravel()))


def test_maps_depend_on_the_last_layers(tmp_path):
    """Randomised from the top, fc8, then fc7, then fc6, the network sees something else each time.

    A map that shows edges would stay the same (Adebayo et al., arXiv 1810.03292).
    """
    config, layers, preprocess, _ = loaded("vgg16-mini")
    explanation = resolved(GRAD_CAM, config)
    batch = real_photos(preprocess)[:12]
    random, changed, maps = np.random.default_rng(0), dict(layers), []
    classes = None
    for name in (None, "fc8", "fc7", "fc6"):
        if name:
            weight = changed[name].weight
            drawn = random.normal(0, weight.std(), weight.shape).astype(np.float32)
            changed[name] = Layer(drawn, changed[name].bias)
        place = tmp_path / str(name)
        place.mkdir()
        session = explained(place, config, changed, preprocess, explanation)
        probabilities, features = session.run_keeping(batch)
        if classes is None:
            classes = np.argmax(probabilities, axis=1)[:, np.newaxis].astype(np.int64)
        maps.append(session.explain(features, np.arange(len(batch)), classes).maps[:, 0])

    trained, *others = maps
    for name, found in zip(("fc8", "fc7", "fc6"), others, strict=True):
        pairs = zip(trained, found, strict=True)
        correlation = np.mean([np.corrcoef(ranks(a), ranks(b))[0, 1] for a, b in pairs])
        print(f"{name}: {correlation:.2f}")  # noqa: T201 (shown by pytest -s)
        assert abs(correlation) < 0.5


@pytest.mark.parametrize("side", [32, 96])
def test_a_bright_patch_is_found(tmp_path, side):
    """A network that answers by the brightness of a place has its box there; small sides work."""
    config = VggConfig("A", group_channels=(4,) * 5, hidden=(4, 4), classes=3, side=side)
    layers = {}
    for name, shape in config.weight_shapes().items():
        weight = np.zeros(shape, np.float32)
        if name.startswith("conv"):
            weight[..., 1, 1] = 1 / shape[1]
        else:
            weight[...] = 1 / shape[1]
        layers[name] = Layer(weight, np.zeros(shape[0], np.float32))
    preprocess = Preprocess(side, side, "RGB", (0.0,) * 3, (255.0,) * 3)
    session = explained(tmp_path, config, layers, preprocess, resolved(GRAD_CAM, config))
    batch = np.zeros((1, side, side, 3), np.uint8)
    batch[:, side // 2 :, side // 2 :] = 255
    _, features = session.run_keeping(batch)

    found = session.explain(features, np.array([0]), np.array([[1]])).maps[0, 0]

    box = find_box(found, 0.5, side)
    assert box is not None
    assert (side, side) == (box.xmax, box.ymax)
    assert box.xmin == box.ymin
    assert abs(box.xmin - side // 2) <= side // 8


def test_file_is_valid_onnx(tmp_path):
    """ONNX's own checker passes the second graph."""
    config = small("C")
    explained(tmp_path, config, lively(config), RGB, resolved(OF_ALL, config))

    onnx.checker.check_model(str(tmp_path / EXPLAIN_FILE), full_check=True)
