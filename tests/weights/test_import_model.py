"""A checkpoint and a list of names become a model that the service serves as any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from app.errors import SetupError
from app.graph.vgg import VggConfig
from app.records import Preprocess
from app.weights.checkpoints.read import read_checkpoint
from app.weights.import_model import import_model, preprocess_of
from app.weights.labels import load_labels, network_of
from app.weights.manifests import load_catalog
from tests.weights.checkpoints.pth import write_pth
from tests.weights.checkpoints.test_read import torch_tensors

NETWORK = VggConfig("A", hidden=(7, 8), classes=3, side=64).scaled(1 / 16)


@pytest.fixture
def source(tmp_path):
    """A fine-tuned network with batch norm, as torch.save writes it."""
    write_pth(tmp_path / "flowers.pth", torch_tensors(NETWORK, has_norm=True))
    return tmp_path / "flowers.pth"


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "names.txt").write_text("daisy\nrose\ntulip\n")
    return tmp_path / "names.txt"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


def test_the_model_is_in_the_catalog(source, labels, folder):
    """Its manifest describes the network that was found, its weights are those of the checkpoint."""
    imported = import_model(source, labels, "flowers", folder, license_="MIT")

    flowers = load_catalog(folder)["flowers"]
    names = load_labels(flowers.labels, folder)
    assert imported == flowers
    assert NETWORK == network_of(flowers, names)
    assert ["daisy", "rose", "tulip"] == [one.text for one in names]
    assert flowers.checkpoint is not None
    assert flowers.checkpoint.digest is not None
    expected = read_checkpoint(source, "pth", NETWORK)
    for name, layer in read_checkpoint(
        folder / flowers.checkpoint.file, "safetensors", NETWORK
    ).items():
        np.testing.assert_array_equal(expected[name].weight, layer.weight)


@pytest.mark.parametrize(
    ("trained", "side", "expected"),
    [
        ("torchvision", 224, ("RGB", 256)),
        ("torchvision", 64, ("RGB", 73)),
        ("caffe", 224, ("BGR", 256)),
        ("keras", 224, ("BGR", 224)),
    ],
)
def test_preprocessing_of_each_training(trained, side, expected):
    """It cannot be seen in the weights, so that it has to be said."""
    preprocess = preprocess_of(trained, side)

    assert (*expected, side) == (preprocess.channels, preprocess.resize, preprocess.crop)
    assert isinstance(preprocess, Preprocess)


def nothing_is_left(folder: Path) -> bool:
    return not folder.exists() or not [*folder.iterdir()]


def test_another_number_of_labels(source, labels, folder):
    """The sentence has both numbers."""
    labels.write_text("daisy\nrose\n")

    with pytest.raises(SetupError, match=r"gives 3 classes, but .*names\.txt names 2"):
        import_model(source, labels, "flowers", folder)

    assert nothing_is_left(folder)


@pytest.mark.parametrize("name", ["vgg16", "Flowers", "../flowers"])
def test_names_that_cannot_be_used(source, labels, folder, name):
    """A name of a built-in model, and one that no manifest may have."""
    with pytest.raises(SetupError, match=name):
        import_model(source, labels, name, folder)

    assert nothing_is_left(folder)
    assert {"flowers.pth", "names.txt"} >= {path.name for path in folder.parent.iterdir()} - {
        "models"
    }


def test_a_name_is_imported_once(source, labels, folder):
    """A second import would replace the weights of a model that may be served."""
    import_model(source, labels, "flowers", folder)

    with pytest.raises(SetupError, match="there is a model of this name"):
        import_model(source, labels, "flowers", folder)


def test_groups_of_other_shares(tmp_path, labels, folder):
    """A manifest has one width for all groups."""
    odd = replace(NETWORK, group_channels=(4, 8, 16, 32, 31))
    safetensors.numpy.save_file(torch_tensors(odd, has_norm=False), tmp_path / "odd.safetensors")

    with pytest.raises(SetupError, match="expected one share of"):
        import_model(tmp_path / "odd.safetensors", labels, "odd", folder)

    assert nothing_is_left(folder)
