"""Weights beside an ONNX file are read from its folder and from nowhere else, and never past their end."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from app.graph.data_files import data_files, load_onnx, move_tensors
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE
from app.records import Preprocess
from app.runtime.cpu_session import CpuSession
from app.serving.ask_classifier import ask_classifier
from app.setup_errors import CheckpointError

CROP = 8
RGB = Preprocess(CROP, CROP, "RGB", (10, 20, 30), (40, 50, 60))
WEIGHT = np.random.default_rng(0).normal(0, 1, (1000, 3)).astype(np.float32)
BATCH = np.random.default_rng(1).integers(0, 256, (2, CROP, CROP, 3), np.uint8)
NAME = "theirs.onnx.data"
FLOATS = WEIGHT.tobytes()


def outside(name: str, **entries: object) -> TensorProto:
    """Make a tensor of three by a thousand that is in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=(1000, 3, 1, 1))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def classifier(weight: TensorProto, body: str = "prob = Identity(logits)") -> ModelProto:
    """Make a classifier of the mean colour."""
    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17, "mine": 1]>
        classifier (float[N,3,{CROP},{CROP}] image) => (float[N,1000] prob) {{
            mean = GlobalAveragePool(image)
            logits_4d = Conv(mean, weight)
            logits = Flatten(logits_4d)
            {body}
        }}""")
    model.graph.initializer.append(weight)
    return model


def expected() -> np.ndarray:
    """Compute the answers in float64."""
    mean = ((BATCH.astype(np.float64) - RGB.mean) / RGB.std).mean((1, 2))
    powers = np.exp(mean @ WEIGHT.T.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def save(folder: Path, model: ModelProto, data: bytes | None = FLOATS) -> Path:
    """Write a model, and the file of its weights."""
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    if data is not None:
        (folder / NAME).write_bytes(data)
    return path


def served(path: Path) -> np.ndarray:
    """Build the serving graph, and let it answer where the other files are gone."""
    place = path.parent / "serving"
    place.mkdir()
    write_ready(place, path, RGB, 1000, ask_classifier)
    for file in path.parent.glob("theirs*"):
        file.unlink()
    onnx.checker.check_model(str(place / GRAPH_FILE), full_check=True)
    return CpuSession(place / GRAPH_FILE).run(BATCH)


def refusal(path: Path) -> str:
    """Return the sentence of a file that is refused, which both readers say."""
    with pytest.raises(CheckpointError) as caught:
        data_files(path)
    with pytest.raises(CheckpointError) as again:
        write_ready(path.parent, path, RGB, 1000, ask_classifier)
    assert f"{path}: {caught.value}" == str(again.value)
    assert not (path.parent / GRAPH_FILE).exists()
    return str(caught.value)


# --- what is read ----------------------------------------------------------------------


@pytest.mark.parametrize("one_file", [True, False])
def test_as_onnx_writes_it(tmp_path, one_file):
    """The package onnx writes one file for all tensors, or one for each."""
    model = classifier(numpy_helper.from_array(WEIGHT.reshape(1000, 3, 1, 1), "weight"))
    path = tmp_path / "theirs.onnx"
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location=NAME if one_file else None,
        size_threshold=0,
    )

    assert [NAME if one_file else "weight"] == data_files(path)
    assert pytest.approx(expected(), abs=1e-6) == served(path)


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ({"location": NAME}, FLOATS),
        ({"location": f"./{NAME}", "offset": 0, "length": 12000}, FLOATS),
        ({"location": NAME, "offset": 12, "length": 12000}, b"x" * 12 + FLOATS),
        ({"location": NAME, "offset": 5, "checksum": "0"}, b"x" * 5 + FLOATS + b"y" * 9),
    ],
    ids=["whole", "dot", "offset", "middle"],
)
def test_ranges(tmp_path, entries, data):
    """Offset and length may be left out; a range may begin anywhere."""
    path = save(tmp_path, classifier(outside("weight", **entries)), data)

    assert [NAME] == data_files(path)
    assert pytest.approx(expected(), abs=1e-6) == served(path)


def test_everywhere_in_a_model(tmp_path):
    """Tensors of inner graphs, of Constant nodes and of functions may be outside, too; bytes are copied once."""
    entries = {"location": NAME, "offset": 0, "length": 12000}
    model = classifier(
        outside("weight", **entries),
        """yes = Constant<value: tensor = bool[1] {1}>()
        prob = If(yes) <
            then_branch = graph () => (float[N,1000] a) { t = Conv(mean, inner) a = Flatten(t) },
            else_branch = graph () => (float[N,1000] b) { b = mine.again(mean) }
        >""",
    )
    model.graph.node[-1].attribute[0].g.initializer.append(outside("inner", **entries))
    constant = helper.make_node("Constant", [], ["kernel"], value=outside("kernel", **entries))
    nodes = [
        constant,
        helper.make_node("Conv", ["a", "kernel"], ["c"]),
        helper.make_node("Flatten", ["c"], ["b"]),
    ]
    again = helper.make_function(
        "mine", "again", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)]
    )
    model.functions.append(again)
    path = save(tmp_path, model)

    assert [NAME] == data_files(path)
    assert pytest.approx(expected(), abs=1e-6) == served(path)
    assert 12000 == (tmp_path / "serving" / WEIGHTS_FILE).stat().st_size


def test_names_with_blanks_and_other_letters(tmp_path):
    """A name is whatever the exporter was given."""
    name = "mein Netz (größer).data"
    path = save(tmp_path, classifier(outside("weight", location=name)), None)
    (tmp_path / name).write_bytes(FLOATS)

    assert [name] == data_files(path)
    assert pytest.approx(expected(), abs=1e-6) == served(path)


def test_link_within_the_folder(tmp_path):
    """Kubernetes mounts a folder of links into a hidden folder beside them."""
    path = save(tmp_path, classifier(outside("weight", location=NAME)), None)
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / NAME).write_bytes(FLOATS)
    (tmp_path / NAME).symlink_to(Path("..data") / NAME)

    assert [NAME] == data_files(path)
    assert pytest.approx(expected(), abs=1e-6) == served(path)


def test_file_without_others_is_not_parsed(tmp_path):
    """A start with a large file stays quick: whatever does not name the key names no file."""
    path = tmp_path / "theirs.onnx"
    path.write_bytes(b"\xff" * 100)

    assert [] == data_files(path)
    path.write_bytes(b"")
    assert [] == data_files(path)


def test_four_bits(tmp_path):
    """Two values share a byte, the last one may be alone."""
    tensor = TensorProto(name="t", data_type=TensorProto.INT4, dims=(3, 3))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=NAME)
    path = save(tmp_path, classifier(tensor), b"12345")
    model = load_onnx(path)

    with (tmp_path / WEIGHTS_FILE).open("wb") as weights:
        move_tensors(path, model, weights)

    assert b"12345" == (tmp_path / WEIGHTS_FILE).read_bytes()
    assert {"location": WEIGHTS_FILE, "offset": "0", "length": "5"} == {
        entry.key: entry.value for entry in model.graph.initializer[0].external_data
    }


# --- what is not -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd", "../outside", "..", ".", "", "folder/weights", "folder\\weights", "..\\outside", "C:\\weights",
        "C:weights", "\\\\host\\share\\weights", "a/../weights", "weights\0.data", "//host/weights",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(tmp_path, location):
    """Only a file of the same folder is read, by the rules of every system."""
    place = tmp_path / "models"
    (place / "folder").mkdir(parents=True)
    for file in (tmp_path / "outside", place / "folder" / "weights", place / "weights"):
        file.write_bytes(FLOATS)
    path = save(place, classifier(outside("weight", location=location)))

    assert f"keeps 'weight' in {location!r}, expected the name of a file beside it" == refusal(path)


def test_link_that_leads_elsewhere(tmp_path):
    """A link out of the folder is not followed, nor a file that is none."""
    place = tmp_path / "models"
    place.mkdir()
    (tmp_path / "outside").write_bytes(FLOATS)
    path = save(place, classifier(outside("weight", location=NAME)), None)
    sentence = f"keeps its weights in {NAME!r}, which is no file of the same folder: copy it there"

    (place / NAME).symlink_to(tmp_path / "outside")
    assert sentence == refusal(path)
    (place / NAME).unlink()
    (place / NAME).mkdir()
    assert sentence == refusal(path)
    (place / NAME).rmdir()
    os.mkfifo(place / NAME)
    assert sentence == refusal(path)


def test_missing_file(tmp_path):
    """Often only the .onnx file is copied."""
    path = save(tmp_path, classifier(outside("weight", location=NAME)), None)

    assert f"keeps its weights in {NAME!r}, which is missing: copy it into the same folder" == (
        refusal(path)
    )


@pytest.mark.parametrize(
    ("entries", "size", "shown"),
    [
        ({}, 11999, "12000 from byte 0 of 11999"),
        ({"offset": 1}, 12000, "12000 from byte 1 of 12000"),
        ({"offset": 2**70}, 12000, f"12000 from byte {2**70} of 12000"),
        ({"offset": -1}, 12000, "12000 from byte -1 of 12000"),
        ({"offset": "one"}, 12000, "12000 from byte -1 of 12000"),
        ({"length": 11996}, 12000, "11996 from byte 0 of 12000"),
        ({"length": 24000}, 24000, "24000 from byte 0 of 24000"),
        ({"length": ""}, 12000, "-1 from byte 0 of 12000"),
    ],
)
def test_ranges_that_are_not_there(tmp_path, entries, size, shown):
    """A tensor has exactly the bytes of its shape, all within the file."""
    tensor = outside("weight", location=NAME, **entries)
    path = save(tmp_path, classifier(tensor), bytes(size))

    assert (
        f"needs 12000 bytes of {NAME!r} for 'weight', and names {shown}:"
        " one of the two files is damaged, or of another model"
    ) == refusal(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_type": TensorProto.STRING}, "keeps 'weight' in another file, expected numbers there"),
        ({"data_type": 77}, "keeps 'weight' in another file, without its type"),
        ({"data_type": 0}, "keeps 'weight' in another file, without its type"),
        ({"dims": [-1, 3, 1, 1]}, "keeps 'weight' in another file, expected numbers there"),
        ({"dims": [2**40, 2**40]}, f"needs {2**82} bytes of {NAME!r} for 'weight', and names"),
    ],
)  # fmt: skip
def test_shapes_and_types_that_make_no_sense(tmp_path, changes, said):
    """They are said, and cost nothing."""
    tensor = outside("weight", location=NAME)
    tensor.MergeFrom(TensorProto(**{key: value for key, value in changes.items() if key != "dims"}))
    if "dims" in changes:
        tensor.ClearField("dims")
        tensor.dims.extend(changes["dims"])

    assert refusal(save(tmp_path, classifier(tensor))).startswith(said)


def test_larger_than_an_onnx_file_can_be(tmp_path):
    """Protobuf ends at 2 GiB; the remedy is a file of data."""
    path = tmp_path / "theirs.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)

    with pytest.raises(
        CheckpointError, match=r"theirs\.onnx: is larger than 2 GiB, .*another file"
    ):
        write_ready(tmp_path, path, RGB, 1000, ask_classifier)


def test_bytes_inside_and_a_name(tmp_path):
    """A tensor that has both is written nowhere but into the serving graph."""
    tensor = outside("weight", location=NAME)
    tensor.raw_data = b"x" * 12000
    path = save(tmp_path, classifier(tensor))

    assert pytest.approx(expected(), abs=1e-6) == served(path)
