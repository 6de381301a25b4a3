"""A file that torch.save wrote gives the weights of the network, whatever else is in it."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
import safetensors.numpy

from app.setup_errors import CheckpointError
from app.weights.checkpoints.pth_file import list_pth
from app.weights.checkpoints.read import read_checkpoint
from tests.weights.checkpoints.pth import pickle_of, text, write_pth
from tests.weights.checkpoints.test_read import CONFIG, logits, torch_vgg, with_norm


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pth"


def test_the_same_layers_as_in_safetensors(path, tmp_path):
    """Both formats hold the same tensors under the same names."""
    random = np.random.default_rng(0)
    tensors = {n: random.normal(1, 0.1, t.shape).astype(np.float32) for n, t in with_norm().items()}
    tensors = {n: abs(t) if n.endswith("running_var") else t for n, t in tensors.items()}
    write_pth(path, tensors)
    safetensors.numpy.save_file(tensors, tmp_path / "same.safetensors")

    expected = read_checkpoint(tmp_path / "same.safetensors", "safetensors", CONFIG)
    layers = read_checkpoint(path, "pth", CONFIG)

    for name, layer in expected.items():
        np.testing.assert_array_equal(layers[name].weight, layer.weight)
        np.testing.assert_array_equal(layers[name].bias, layer.bias)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.", "backbone."])
def test_prefixes_of_wrappers_are_dropped(path, prefix):
    """DataParallel, torch.compile and training frameworks put them before every name."""
    write_pth(path, {f"{prefix}{name}": one for name, one in with_norm().items()})

    assert {*with_norm()} == {*list_pth(path)}


@pytest.mark.parametrize("beside", ["n_averaged", "criterion.weight", "loss_fn.pos_weight"])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_tensors_of_the_training_are_left_out(tmp_path, beside, form):
    """Averaged models count, and a loss has weights of classes; they are no part of the network."""
    tensors = {f"module.{name}": one for name, one in with_norm().items()}
    tensors[beside] = np.ones(3, np.float32)
    path = tmp_path / f"checkpoint.{form}"
    (write_pth if form == "pth" else lambda p, t: safetensors.numpy.save_file(t, p))(path, tensors)

    assert [*CONFIG.weight_shapes()] == [*read_checkpoint(path, form, CONFIG)]


def wrapped(key: str, value: bytes) -> bytes:
    """Push a dict of one key."""
    return b"}" + text(key) + value + b"s"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: wrapped("weights_of_mine", state),
        lambda state: wrapped("model", wrapped("state_dict", state)),
        lambda state: wrapped("net", state) + text("ema_too") + state + b"s",
    ],
    ids=["unknown", "twice", "known"],
)
def test_the_only_state_dict_is_found(path, wrap):
    """Under any key, if there is one; under a known key, if there are several."""
    state = pickle_of(with_norm())[2:-1]
    write_pth(path, with_norm(), b"\x80\x02" + wrap(state) + b".")

    assert {*with_norm()} == {*list_pth(path)}


def test_two_state_dicts_are_not_guessed_between(path):
    """Neither key is known: the sentence has both."""
    state = pickle_of(with_norm())[2:-1]
    two = b"}" + text("student") + state + b"s" + text("teacher") + state + b"s"
    write_pth(path, with_norm(), b"\x80\x02" + two + b".")

    with pytest.raises(CheckpointError, match="it has student, teacher"):
        read_checkpoint(path, "pth", CONFIG)


def test_a_file_of_other_tensors_says_what_it_has(path):
    """The error is about the network, as for every format."""
    write_pth(path, {"conv.weight": np.zeros((3, 3), np.float32)})

    with pytest.raises(CheckpointError, match=r"has no tensor features\.0\.weight"):
        read_checkpoint(path, "pth", CONFIG)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"model/data.pkl": b"\x80\x02N."}, "has no state dict, alone or under one of state_dict"),
        ({"model/data.pkl": b"cposix\nsystem\n."}, r"wants to run posix\.system"),
        ({"model/data.pkl": None}, "with 0 files data.pkl"),
        ({"model/data/0": None}, "lacks model/data/0"),
        ({"model/data/0": b"short"}, "has 5 bytes in model/data/0"),
        ({"other/data.pkl": b"."}, "with 2 files data.pkl"),
    ],
)
def test_damaged_archives_are_refused(path, edit, sentence):
    """The error names the entry that is missing or of another size."""
    tensors = {"model/data.pkl": pickle_of(with_norm())}
    tensors |= {f"model/data/{i}": t.tobytes() for i, t in enumerate(with_norm().values())}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (tensors | edit).items():
            if content is not None:
                archive.writestr(name, content)

    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(path, "pth", CONFIG)


def test_a_truncated_archive_is_refused(path):
    """A download that was cut off is no zip archive."""
    write_pth(path, with_norm())
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match="is a damaged zip archive"):
        read_checkpoint(path, "pth", CONFIG)


def test_a_compressed_entry_is_refused(path):
    """PyTorch compresses nothing, and a few bytes could be gigabytes of zeros."""
    tensors = with_norm()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle_of(tensors))
        for place in range(len(tensors)):
            archive.writestr(f"model/data/{place}", bytes(10_000_000), zipfile.ZIP_DEFLATED)

    with pytest.raises(CheckpointError, match="has model/data/0 compressed"):
        read_checkpoint(path, "pth", CONFIG)


def edit_contents(path, entry: bytes, offset: int, values: bytes) -> None:
    """Overwrite part of a row of the archive's table of contents."""
    data = bytearray(path.read_bytes())
    at = data.rindex(entry) - 46 + offset
    data[at : at + len(values)] = values
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [(4, "has 4 bytes in model/data/0, expected 216"), (2**30, "is a damaged zip archive")],
)
def test_an_entry_that_holds_less_than_it_says(path, stored, sentence):
    """What the table of contents claims is never believed: memory behind the numbers stays unread."""
    tensors = with_norm()
    write_pth(path, tensors)
    held = np.ascontiguousarray(tensors["features.0.weight"]).tobytes()[:4]
    sizes = struct.pack("<III", zlib.crc32(held), stored, 216 if stored == 4 else stored)
    edit_contents(path, b"model/data/0", 16, sizes)

    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(path, "pth", CONFIG)


def test_an_archive_of_very_many_entries_is_refused(path):
    """Each takes a thousand bytes of memory before anything is known of it."""
    write_pth(path, with_norm())
    with zipfile.ZipFile(path, "a") as archive:
        for place in range(10_000):
            archive.writestr(f"x/{place}", b"")

    with pytest.raises(CheckpointError, match="of more than 10000 entries"):
        read_checkpoint(path, "pth", CONFIG)


@pytest.mark.torch
@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize(
    "change",
    ["plain", "wrapped", "half", "bfloat16", "double", "channels_last", "parallel", "parameters"],
)
def test_what_torch_saves_computes_the_same(path, has_norm, change):
    """State dicts as training scripts save them, and weights of each type."""
    torch = pytest.importorskip("torch")
    model, expected = torch_vgg(has_norm=has_norm)
    saved = model.state_dict()
    match change:
        case "wrapped":
            optimizer = torch.optim.Adam(model.parameters())
            saved = {"epoch": 3, "state_dict": saved, "optimizer": optimizer.state_dict()}
        case "half" | "bfloat16" | "double":
            saved = getattr(model, change)().state_dict()
        case "channels_last":
            saved = model.to(memory_format=torch.channels_last).state_dict()
        case "parallel":
            saved = torch.nn.DataParallel(model).state_dict()
        case "parameters":
            saved = dict(model.named_parameters()) | dict(model.named_buffers())
    torch.save(saved, path)

    actual = logits(read_checkpoint(path, "pth", CONFIG))

    tolerance = {"half": 1e-2, "bfloat16": 1e-1}.get(change, 1e-4)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.torch
def test_a_whole_model_is_refused_with_advice(path):
    """torch.save(model) stores code, which is not run."""
    torch = pytest.importorskip("torch")
    model, _ = torch_vgg()
    torch.save(model, path)

    with pytest.raises(CheckpointError, match=r"wants to run torch\.nn\.modules") as caught:
        read_checkpoint(path, "pth", CONFIG)

    assert "torch.save(model.state_dict()" in str(caught.value)
