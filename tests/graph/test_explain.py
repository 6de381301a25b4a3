"""Explanations are the gradients of the network: those of PyTorch's autograd, of the same weights.

The maps, the logits and their parts of app/graph/explain.py are compared with Grad-CAM and LayerCAM as their
papers write them down, in PyTorch.
"""

from typing import Any

import numpy as np
import pytest

from app.graph.conv_plan import DIRECT, plans
from app.graph.explain import resolved
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.images.map_box import find_box
from app.records import Explanation
from app.runtime.cpu_session import CpuSession
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
