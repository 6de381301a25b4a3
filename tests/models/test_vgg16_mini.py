"""The small model in the box: its weights are those of its model card, and its recipe runs."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.records import Layer
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import REPOSITORY

RECIPE = REPOSITORY / "models" / "recipes" / "vgg16_mini.py"
CLASSES = ("n01443537", "n02123045", "n07920052")


@pytest.mark.torch
def test_the_recipe_writes_weights_that_the_service_reads(tmp_path):
    """Trained for two seconds on photos of noise, it writes the network of the manifest, three classes wide."""
    pytest.importorskip("torch", reason="no PyTorch")
    data, out = tmp_path / "tiny", tmp_path / "out.safetensors"
    random = np.random.default_rng(0)
    lines = []
    for wnid in CLASSES:
        (data / "train" / wnid / "images").mkdir(parents=True)
        (data / "val" / "images").mkdir(parents=True, exist_ok=True)
        for number in range(4):
            photo = Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8))
            photo.save(data / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", "JPEG")
        photo.save(data / "val" / "images" / f"{wnid}.JPEG", "JPEG")
        lines.append(f"{wnid}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (data / "val" / "val_annotations.txt").write_text("".join(lines))
    command = [sys.executable, RECIPE, data, "0.03", out]

    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    mini = load_catalog(BUILT_IN)["vgg16-mini"]
    network = network_of(mini, load_labels(mini.labels, BUILT_IN))
    assert network is not None
    layers = read_checkpoint(out, "safetensors", replace(network, classes=3))
    assert "top-5 100.00 %" in printed
    assert [*network.weight_shapes()] == [*layers]
    assert all(isinstance(layer, Layer) for layer in layers.values())


def test_the_labels_are_the_classes_of_the_weights():
    """The file of the weights names the wnids in the order of the outputs; the label file has the same."""
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(BUILT_IN / "vgg16-mini.safetensors", framework="numpy") as file:
        expected = file.metadata()["classes"].split()

    assert expected == [label.wnid for label in load_labels("vgg16-mini", BUILT_IN)]
