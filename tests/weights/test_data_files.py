"""The manifest and an ONNX file agree on the files beside it, or the start says how to make them."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from app.setup_errors import CheckpointError, ManifestError
from app.weights.data_files import pinned_together, verify_data_files
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.manifests.manifest import DataFile, Manifest

DATA = bytes(range(12))
SHA256 = hashlib.sha256(DATA).hexdigest()
MAIN = "5" * 64


def write(folder: Path, *names: str) -> Path:
    """Write an ONNX file with a tensor in each of these files."""
    graph = helper.make_graph([], "g", [], [])
    for name in names:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
        graph.initializer.append(tensor)
        (folder / name).write_bytes(DATA)
    path = folder / "theirs.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def manifest(*external: DataFile) -> Manifest:
    """Make a manifest that speaks of files."""
    made = load_catalog(BUILT_IN)["vgg16"]
    return replace(made, path=Path("m.toml"), external=external)


def verify(path: Path, *external: DataFile, pinned: str | None = None) -> Any:
    """Verify the files."""
    return verify_data_files(path, MAIN, pinned, manifest(*external), lambda *_: None)


def test_a_file_alone(tmp_path):
    """Its SHA-256 is its own."""
    assert (MAIN, 0) == verify(write(tmp_path), pinned=f"sha256:{MAIN}")


def test_together_as_sha256sum_prints_them(tmp_path):
    """`sha256sum theirs.onnx a b | sha256sum` says the same."""
    lines = f"{MAIN}  theirs.onnx\n{SHA256}  a\n{SHA256}  b\n"

    assert (hashlib.sha256(lines.encode()).hexdigest(), 24) == verify(write(tmp_path, "b", "a"))


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_pinned(tmp_path, algorithm):
    """Size and digest of each file are checked as those of any other."""
    path = write(tmp_path, "a")
    right = hashlib.new(algorithm, DATA).hexdigest()
    wrong = hashlib.new(algorithm, b"").hexdigest()

    good: dict[str, Any] = {algorithm: right}
    bad: dict[str, Any] = {algorithm: wrong}

    verify(path, DataFile(file="a", size=12, **good), pinned=f"sha256:{MAIN}")
    with pytest.raises(CheckpointError) as caught:
        verify(path, DataFile(file="a", **bad))
    assert f"{tmp_path / 'a'}: is {algorithm}:{right}, but m.toml pins {algorithm}:{wrong}" == (
        str(caught.value)
    )
    with pytest.raises(CheckpointError, match=r"a: has 12 bytes, but m\.toml says 13"):
        verify(path, DataFile(file="a", size=13))


def test_pinned_graph_with_data_that_are_not(tmp_path):
    """A digest of one file does not vouch for another; the sentence has the lines that are missing."""
    with pytest.raises(CheckpointError) as caught:
        verify(write(tmp_path, "a"), DataFile(file="a", size=12), pinned=f"sha256:{MAIN}")

    assert (
        f"{tmp_path / 'a'}: holds weights of theirs.onnx, and m.toml pins only that; add a table"
        f' [[external]] with file = "a" and sha256 = "{SHA256}"'
    ) == str(caught.value)


def test_file_that_is_not_needed(tmp_path):
    """A manifest with the name of another file would check nothing."""
    with pytest.raises(ManifestError, match=r"external: names 'b', theirs\.onnx needs 'a'"):
        verify(write(tmp_path, "a"), DataFile(file="b"))
    with pytest.raises(
        ManifestError, match=r"external: names 'b', theirs\.onnx needs no other file"
    ):
        verify(write(tmp_path), DataFile(file="b"))


def test_missing_file(tmp_path):
    """The sentence names both files."""
    path = write(tmp_path, "a")
    (tmp_path / "a").unlink()

    with pytest.raises(
        CheckpointError, match=r"theirs\.onnx: keeps its weights in 'a', which is miss"
    ):
        verify(path)


def test_pins_together():
    """A graph is found by all pins at once, and not without the one of the ONNX file."""
    first, second = DataFile(file="a", sha256="1" * 64), DataFile(file="b", sha384="2" * 96)
    joined = pinned_together("sha256:0", [second, first])

    assert f"sha256:0+a=sha256:{'1' * 64}+b=sha384:{'2' * 96}" == joined
    assert "sha256:0" == pinned_together("sha256:0", [])
    assert pinned_together(None, [first]) is None
