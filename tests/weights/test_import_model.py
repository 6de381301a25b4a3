"""A checkpoint and a list of names become a model that the service serves as any other."""

import hashlib
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from app.graph.vgg import VggConfig
from app.records import PixelBatch, Preprocess, ProbabilityBatch
from app.runtime.open_session import open_session
from app.serving.ask_classifier import ask_classifier, run_alone
from app.setup_errors import SetupError
from app.weights.checkpoints.read import read_checkpoint
from app.weights.import_model import Trained, preprocess_of
from app.weights.import_model import import_model as import_with
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import load_catalog
from app.weights.provisioning import Provisioning
from app.weights.pull import pull
from tests.weights.checkpoints.pth import write_pth
from tests.weights.checkpoints.test_read import Tensors, make_onnx, torch_tensors
from tests.weights.own_training import (
    FORMS,
    FULL,
    NAMES,
    probabilities,
    some_photos,
    trained,
)

import_model = partial(import_with, ask=ask_classifier, run_alone=run_alone)
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
    assert imported.manifest == flowers
    assert NETWORK == network_of(flowers, names)
    assert ["daisy", "rose", "tulip"] == [one.text for one in names]
    assert flowers.checkpoint is not None
    assert flowers.checkpoint.digest is not None
    expected = read_checkpoint(source, "pth", NETWORK)
    for name, layer in read_checkpoint(
        folder / flowers.checkpoint.file, "safetensors", NETWORK
    ).items():
        np.testing.assert_array_equal(expected[name].weight, layer.weight)


def test_whoever_serves_it_can_read_it(source, labels, folder):
    """The weights have the mode of any file made here; a container runs as another user."""
    import_model(source, labels, "flowers", folder)

    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["flowers.toml"] == modes["flowers.safetensors"]


@pytest.mark.parametrize(
    ("whose", "side", "expected"),
    [
        ("torchvision", 224, ("RGB", 256)),
        ("torchvision", 64, ("RGB", 73)),
        ("caffe", 224, ("BGR", 256)),
        ("keras", 224, ("BGR", 224)),
    ],
)
def test_preprocessing_of_each_training(whose, side, expected):
    """It cannot be seen in the weights, so that it has to be said."""
    preprocess = preprocess_of(whose, side)

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


# --- ONNX ---------------------------------------------------------------------------------


def write_onnx(
    path: Path,
    *last: onnx.NodeProto,
    shape: tuple[int | str, ...] = (1, 3, 64, 64),
    data: str | None = None,
) -> None:
    """Write a network that tells three colours apart; its weights may be in a file beside it."""
    weight = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["photo"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["logits"]),
        *last,
    ]
    output = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save_model(
        made, path, save_as_external_data=data is not None, location=data, size_threshold=0
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_onnx_file_is_a_ready_graph(tmp_path, labels, folder):
    """It is copied as it is and pinned; its side is that of its input."""
    write_onnx(tmp_path / "net.onnx")

    imported = import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    flowers = load_catalog(folder)["flowers"]
    assert imported.manifest == flowers
    assert imported.why_as_it_is.startswith("holds no VGG: it has 1 layers with weights, expected")
    assert (tmp_path / "net.onnx").read_bytes() == (folder / "flowers.onnx").read_bytes()
    assert ("flowers.onnx", f"sha256:{sha256(folder / 'flowers.onnx')}") == (
        flowers.onnx,
        flowers.digest,
    )
    assert preprocess_of("torchvision", 64) == flowers.preprocess
    assert ["flowers.onnx", "flowers.toml", "flowers.txt"] == sorted(
        path.name for path in folder.iterdir()
    )
    assert pull(flowers, Provisioning(folder, ask_classifier), lambda *_: None).trained


@pytest.mark.parametrize("data", ["model.onnx.data", "flowers.toml", "weights \N{ROSE}.bin"])
def test_weights_beside_an_onnx_file(tmp_path, labels, folder, data):
    """They get a name of their own, so that two exports called `model.onnx` do not meet."""
    write_onnx(tmp_path / "model.onnx", data=data)

    for name in ("flowers", "trees"):
        import_model(tmp_path / "model.onnx", labels, name, folder)

    flowers = load_catalog(folder)["flowers"]
    place = folder / "flowers.onnx.data"
    assert [(place.name, place.stat().st_size, f"sha256:{sha256(place)}")] == [
        (one.file, one.size, one.digest) for one in flowers.external
    ]
    (tmp_path / "model.onnx").unlink()
    (tmp_path / data).unlink()
    assert pull(flowers, Provisioning(folder, ask_classifier), lambda *_: None).trained


def write_batch_of_four(path: Path) -> None:
    """As torch.onnx.export writes `x.view(x.size(0), -1)` for four photos."""
    write_onnx(path, shape=(4, 3, 64, 64))
    model = onnx.load(path)
    model.graph.node[1].CopyFrom(helper.make_node("Reshape", ["mean", "shape"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([4, -1]), "shape"))
    onnx.save_model(model, path)


SIGMOID = helper.make_node("Sigmoid", ["logits"], ["scores"])
NOTHING = helper.make_node("Log", ["logits"], ["scores"])  # of a negative number


def test_labels_that_are_not_there(source, labels, folder):
    """Neither built-in ones of this name nor a file with another suffix stand in for them."""
    for missing in ("names", "imagenet-1k.tsv"):
        with pytest.raises(SetupError, match=r"--labels .*there is no such file"):
            import_model(source, labels.with_name(missing), "flowers", folder)

    assert nothing_is_left(folder)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (partial(write_onnx, shape=(1, 3, 64, 32)), r"takes \[1, 3, 64, 32\], expected square"),
        (partial(write_onnx, shape=(1, 64, 64, 3)), r"takes \[1, 64, 64, 3\], expected square"),
        (partial(write_onnx, shape=(1, 3, "H", "H")), "takes photos of any side"),
        (lambda path: write_onnx(path, SIGMOID), "as a sigmoid does"),
        (lambda path: write_onnx(path, NOTHING), "not finite numbers"),
        (
            write_batch_of_four,
            r"cannot be run on one image alone, export it with a batch of 1: .*Reshape",
        ),
        (lambda path: path.write_bytes(b"\x08\x09\x12" + b"\xff" * 99), "is not an ONNX file"),
        (lambda path: path.write_bytes(b"version https://git-lfs"), "a pointer of Git LFS"),
        (lambda _: None, "is not there"),
    ],
)
def test_an_onnx_file_that_cannot_be_served(tmp_path, labels, folder, write, sentence):
    """What would end the service's start ends the import, and nothing is left."""
    write(tmp_path / "net.onnx")

    with pytest.raises(SetupError, match=rf"net\.onnx: .*{sentence}"):
        import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    assert nothing_is_left(folder)


def test_an_onnx_file_of_another_number_of_classes(tmp_path, labels, folder):
    """They are counted by running it, as its form may not say."""
    write_onnx(tmp_path / "net.onnx")
    labels.write_text("daisy\nrose\n")

    with pytest.raises(SetupError, match=r"\[1, 3\] for 1 image\(s\), expected 2 floating"):
        import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    assert nothing_is_left(folder)


def test_an_onnx_file_without_its_weights(tmp_path, labels, folder):
    """The sentence names the file that has to be beside it."""
    write_onnx(tmp_path / "net.onnx", data="net.bin")
    (tmp_path / "net.bin").unlink()

    with pytest.raises(SetupError, match=r"keeps its weights in 'net\.bin', which is missing"):
        import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    assert nothing_is_left(folder)


def write_vgg_onnx(path: Path, *, data: str | None = None) -> Tensors:
    """Write NETWORK; its weights may be in a file beside it."""
    rng = np.random.default_rng(3)
    tensors: Tensors = {}
    for name, shape in NETWORK.weight_shapes().items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        tensors[name, "weight"] = rng.normal(0, scale, shape).astype(np.float32)
        tensors[name, "bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    between = {"conv5_2": [helper.make_node("Flatten", [], [])]}
    model = make_onnx(tensors, opset=15, between=between, listed=False)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = NETWORK.classes
    onnx.save_model(
        model, path, save_as_external_data=data is not None, location=data, size_threshold=0
    )
    return tensors


@pytest.mark.parametrize("data", [None, "net.onnx.data"])
def test_a_vgg_in_an_onnx_file_is_served_as_one(tmp_path, labels, folder, data):
    """Its layers are taken, so that it runs as the built-in networks do; the graph is left behind."""
    tensors = write_vgg_onnx(tmp_path / "net.onnx", data=data)

    imported = import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    flowers = load_catalog(folder)["flowers"]
    assert imported.manifest == flowers
    assert NETWORK == network_of(flowers, load_labels(flowers.labels, folder))
    assert ["flowers.safetensors", "flowers.toml", "flowers.txt"] == sorted(
        path.name for path in folder.iterdir()
    )
    layers = read_checkpoint(folder / "flowers.safetensors", "safetensors", NETWORK)
    for (name, part), values in tensors.items():
        np.testing.assert_array_equal(values, getattr(layers[name], part))


def test_a_vgg_in_an_onnx_file_with_another_number_of_labels(tmp_path, labels, folder):
    """The sentence has both numbers."""
    write_vgg_onnx(tmp_path / "net.onnx")
    labels.write_text("daisy\nrose\n")

    with pytest.raises(SetupError, match=r"gives 3 classes, but .*names\.txt names 2"):
        import_model(tmp_path / "net.onnx", labels, "flowers", folder)

    assert nothing_is_left(folder)


def test_a_graph_that_answers_otherwise_stays_as_it_is(tmp_path, labels, folder):
    """What the walk along its nodes might overlook is seen in its probabilities."""
    write_vgg_onnx(tmp_path / "net.onnx")
    ran = []

    def certain(graph: Path, images: PixelBatch) -> ProbabilityBatch:
        ran.append((graph.name, len(images)))
        return np.eye(3, dtype=np.float32)[np.zeros(len(images), int)]

    imported = import_with(
        tmp_path / "net.onnx", labels, "flowers", folder, ask=ask_classifier, run_alone=certain
    )

    assert "flowers.onnx" == imported.manifest.onnx
    assert "gives probabilities that differ by 0." in imported.why_as_it_is
    assert [("graph.onnx", 5), ("graph.onnx", 1)] == ran


# --- every form of one training -----------------------------------------------------------


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("form", "whose", "has_norm"),
    [
        *((form, "torchvision", has_norm) for form in [*FORMS][:4] for has_norm in (False, True)),
        ("flowers.onnx", "caffe", False),
        ("flowers.h5", "keras", False),
        ("flowers.caffemodel", "caffe", False),
    ],
)
def test_the_answers_are_those_of_the_training(tmp_path, folder, form, whose: Trained, has_norm):
    """Whatever file it comes in, its probabilities are those of PyTorch, to 1e-5."""
    model = trained(preprocess_of(whose, NETWORK.side), has_norm=has_norm)
    FORMS[form](tmp_path / form, model)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))

    made = import_model(
        tmp_path / form, tmp_path / "names.txt", "flowers", folder, trained=whose
    ).manifest
    graph = pull(made, Provisioning(folder, ask_classifier), lambda *_: None)

    photos = some_photos()
    expected = probabilities(model, photos, made.preprocess)
    actual = open_session(graph.path, device="cpu").run(photos)
    assert 0.01 < np.ptp(expected, axis=0).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.torch
@pytest.mark.large
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("form", "whose", "has_norm"),
    [
        ("flowers.pth", "torchvision", True),
        ("flowers.safetensors", "torchvision", False),
        ("flowers.onnx", "torchvision", True),
        ("model.onnx", "torchvision", False),
        ("flowers.h5", "keras", False),
        ("flowers.caffemodel", "caffe", False),
    ],
)
def test_a_vgg_16_of_ten_classes(tmp_path, folder, form, whose: Trained, has_norm):
    """At its true size, too, each form gives the probabilities of PyTorch, to 1e-5."""
    if (free := shutil.disk_usage(tmp_path).free) < 2 * 2**30:
        pytest.skip(f"needs 2 GiB in {tmp_path}, {free / 2**30:.1f} are free")
    model = trained(preprocess_of(whose, FULL.side), has_norm=has_norm, network=FULL)
    FORMS[form](tmp_path / form, model)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    photos = some_photos(FULL.side)

    made = import_model(
        tmp_path / form, tmp_path / "names.txt", "flowers", folder, trained=whose
    ).manifest
    graph = pull(made, Provisioning(folder, ask_classifier), lambda *_: None)
    actual = open_session(graph.path, device="cpu", threads=2).run(photos)

    network = network_of(made, load_labels(made.labels, folder))
    expected = probabilities(model, photos, made.preprocess)
    shutil.rmtree(folder)
    for path in tmp_path.iterdir():
        path.unlink()
    assert network == FULL
    assert 0.01 < np.ptp(expected, axis=0).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
