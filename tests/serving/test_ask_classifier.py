"""A classifier is asked as it is, with pixels that numpy prepared, and says why it cannot answer."""

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from app.records import Preprocess
from app.serving.ask_classifier import ask_classifier, probe_images
from app.setup_errors import CheckpointError

CROP = 4
RGB = Preprocess(CROP, CROP, "RGB", (10, 20, 30), (40, 50, 60))
BGR = Preprocess(CROP, CROP, "BGR", (10, 20, 30), (40, 50, 60))


def write(folder: Path, body: str, takes: str = f"N,3,{CROP},{CROP}", gives: str = "y") -> Path:
    """Write a graph."""
    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        theirs (float[{takes}] x) => ({gives}) {{ {body} }}""")
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_all_outputs_for_each_image(tmp_path, preprocess, batch):
    """Every output comes back by its name, for each image alone; a fixed batch holds copies of it."""
    path = write(
        tmp_path,
        "y = Identity(x) shape = Shape(x)",
        f"{batch},3,{CROP},{CROP}",
        f"float[{batch},3,{CROP},{CROP}] y, int64[4] shape",
    )

    answers = ask_classifier(path, preprocess)

    order = [0, 1, 2] if preprocess is RGB else [2, 1, 0]
    wanted = (answers.images[..., order] - np.array(preprocess.mean)) / np.array(preprocess.std)
    assert ["y", "shape"] == list(answers.outputs)
    assert (1 if batch == "N" else batch) == answers.batch
    assert {(answers.batch, 3, CROP, CROP)} == {tuple(s.tolist()) for s in answers.outputs["shape"]}
    for image, given in zip(wanted, answers.outputs["y"], strict=True):
        for one in given:
            assert pytest.approx(image.transpose(2, 0, 1)) == one


def test_what_is_no_tensor_is_left_out(tmp_path):
    """A sequence of a tensor is not that tensor; one output beside it has to be."""
    body = "y = Identity(x) s = SequenceConstruct(x)"
    both = write(tmp_path, body, gives="seq(float[N]) s, float[N,3,4,4] y")
    assert ["y"] == list(ask_classifier(both, RGB).outputs)

    alone = write(tmp_path, "s = SequenceConstruct(x)", gives="seq(float[N]) s")
    with pytest.raises(CheckpointError, match="gives no tensor, but a sequence or a map"):
        ask_classifier(alone, RGB)


def test_images_have_little_in_common():
    """A rule that holds for all of them is no accident: they are of every brightness."""
    images = probe_images(RGB)

    assert (np.dtype(np.uint8), (5, CROP, CROP, 3)) == (images.dtype, images.shape)
    assert {0, 255} < set(images.mean(axis=(1, 2, 3)).tolist())
    assert 5 == len({image.tobytes() for image in images})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y = Unknown(x)", "cannot be loaded by onnxruntime: "),
        (
            "s = Constant<value_ints=[7]>() y = Reshape(x, s)",
            "cannot be run on an image, [1, 3, 4, 4]: ",
        ),
    ],
)
def test_failures(tmp_path, body, said):
    """The sentence says whether it was loading or running, and what onnxruntime said."""
    path = write(tmp_path, body, gives="float[M] y")

    with pytest.raises(CheckpointError) as caught:
        ask_classifier(path, RGB)

    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) > len(said)
