"""Anybody's classifier can be served as it is; otherwise the error says what it is and should be."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from app.graph.own_answers import ANSWERS_FILE, read_answers
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import GRAPH_FILE, WEIGHTS_FILE
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Preprocess
from app.runtime.cpu_session import CpuSession
from app.serving.ask_classifier import ask_classifier
from app.serving.classifier import top_k
from app.serving.warmup import self_test
from app.setup_errors import CheckpointError
from app.weights.labels import load_labels
from tests.conftest import PHOTOS
from tests.conftest import SHARED_DATA as DATA

CROP = 8
RGB = Preprocess(CROP, CROP, "RGB", (10, 20, 30), (40, 50, 60))
BGR = Preprocess(CROP, CROP, "BGR", (10, 20, 30), (40, 50, 60))
WEIGHT = np.random.default_rng(0).normal(0, 1, (1000, 3)).astype(np.float32)
BATCH = np.random.default_rng(1).integers(0, 256, (3, CROP, CROP, 3), np.uint8)


def node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """Make a node from names with blanks between them."""
    return helper.make_node(op, inputs.split(" "), [output], **attributes)


def classifier(
    *after: NodeProto,
    source: str = "data",
    result: str = "logits",
    takes: tuple[int, list[int | str]] = (TensorProto.FLOAT, ["N", 3, CROP, CROP]),
    gives: list[int | str] | None = None,
    opset: int = 13,
    ir_version: int = 8,
    weights_are_inputs: bool = False,
    domain: str = "",
) -> ModelProto:
    """Make a classifier that looks at the mean colour only: 1000 logits, linear in it."""
    nodes = [
        node("GlobalAveragePool", source, "mean"),
        node("Conv", "mean weight", result if not after else "logits_4d"),
        *after,
    ]
    weight = numpy_helper.from_array(WEIGHT.reshape(1000, 3, 1, 1), "weight")
    inputs = [helper.make_tensor_value_info(source, *takes)]
    if weights_are_inputs:
        inputs.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1000, 3, 1, 1]))
    gives = gives or (["N", 1000] if after else ["N", 1000, 1, 1])
    output = after[-1].output[0] if after else result
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, gives)]
    return helper.make_model(
        helper.make_graph(nodes, "classifier", inputs, outputs, [weight]),
        opset_imports=[helper.make_opsetid(domain, opset)],
        ir_version=ir_version,
    )


def expected(
    batch: np.ndarray, preprocess: Preprocess = RGB, temperature: float = 1.0
) -> np.ndarray:
    """Compute the answer of `classifier` in float64."""
    pixels = batch.astype(np.float64)[..., :: -1 if preprocess.channels == "BGR" else 1]
    mean = ((pixels - preprocess.mean) / preprocess.std).mean(axis=(1, 2))
    powers = np.exp(mean @ WEIGHT.T.astype(np.float64) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def save(folder: Path, model: ModelProto) -> Path:
    """Write a model into one file."""
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def serve(
    folder: Path, path: Path, preprocess: Preprocess = RGB, temperature: float = 1.0
) -> CpuSession:
    """Build the serving graph, have it checked by ONNX, and load it."""
    place = folder / "serving"
    place.mkdir()
    write_ready(place, path, preprocess, 1000, ask_classifier, temperature)
    assert {GRAPH_FILE, WEIGHTS_FILE, ANSWERS_FILE} == {file.name for file in place.iterdir()}
    onnx.checker.check_model(str(place / GRAPH_FILE), full_check=True)
    return CpuSession(place / GRAPH_FILE)


# --- what can be served ----------------------------------------------------------------


@pytest.mark.parametrize("preprocess", [RGB, BGR], ids=["RGB", "BGR"])
def test_logits_get_preprocessing_and_softmax(tmp_path, preprocess):
    """Logits of [N, 1000, 1, 1] become probabilities of [N, 1000], from pixels."""
    session = serve(tmp_path, save(tmp_path, classifier()), preprocess)

    rows = session.run(BATCH)

    assert (3, 1000) == rows.shape
    assert pytest.approx(expected(BATCH, preprocess), abs=1e-6) == rows


@pytest.mark.parametrize("opset", [7, 13, 17, 18, 20])
def test_logits_give_the_energy(tmp_path, opset):
    """It is the log of the sum of their exponentials, however the opset writes that."""
    version = 8 if opset < 18 else 9
    session = serve(tmp_path, save(tmp_path, classifier(opset=opset, ir_version=version)))
    mean = ((BATCH.astype(np.float64) - RGB.mean) / RGB.std).mean(axis=(1, 2))
    [last] = session.energies

    session.run(BATCH)

    assert pytest.approx(np.log(np.exp(mean @ WEIGHT.T).sum(axis=1)), abs=1e-5) == last()


def test_probabilities_have_no_energy(tmp_path):
    """Softmax has lost it, so that nothing is guessed."""
    softmax = node("Softmax", "logits_4d", "prob", axis=1)
    model = classifier(softmax, gives=["N", 1000, 1, 1])
    session = serve(tmp_path, save(tmp_path, model))

    session.run(BATCH)

    assert [None] == [last() for last in session.energies]


SOFTMAX = (
    node("Flatten", "logits_4d", "flat"),
    node("Softmax", "flat", "prob", axis=1),
)


@pytest.mark.parametrize("after", [(), SOFTMAX], ids=["logits", "probabilities"])
@pytest.mark.parametrize("temperature", [0.3, 2.0, 20.0])
@pytest.mark.parametrize("opset", [7, 10, 11, 13, 18, 21])
def test_a_temperature_divides_the_logits(tmp_path, opset, temperature, after):
    """Logits, or the logarithms of probabilities, are divided; the self-test expects that."""
    version = 8 if opset < 18 else 10
    theirs = save(tmp_path, classifier(*after, opset=opset, ir_version=version))
    session = serve(tmp_path, theirs, temperature=temperature)
    own = read_answers(tmp_path / "serving", temperature)

    rows = session.run(BATCH)

    assert pytest.approx(expected(BATCH, temperature=temperature), abs=1e-6) == rows
    self_test(session.run, BATCH[0], (1, 2), own=own)


def test_a_temperature_takes_logits_where_there_are_both(tmp_path):
    """Of two outputs that say the same, the one with the logits has lost nothing: its energy is there."""
    model = classifier(*SOFTMAX)
    flat = helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 1000])
    model.graph.output.append(flat)
    session = serve(tmp_path, save(tmp_path, model), temperature=2.0)
    [last] = session.energies

    rows = session.run(BATCH)

    assert pytest.approx(expected(BATCH, temperature=2.0), abs=1e-6) == rows
    assert last() is not None


@pytest.mark.parametrize(
    "tail",
    [
        [node("Cast", "prob", "short", to=TensorProto.FLOAT16), node("Cast", "short", "out", to=1)],
        [node("Clip", "prob least", "out")],
    ],
    ids=["float16", "limited"],
)
def test_a_temperature_needs_small_probabilities(tmp_path, tail):
    """What is rounded or limited has lost them; the sentence says what to do."""
    model = classifier(*SOFTMAX, *tail)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e-5, np.float32), "least"))
    path, place = save(tmp_path, model), tmp_path / "serving"
    place.mkdir()
    write_ready(place, path, RGB, 1000, ask_classifier)

    with pytest.raises(
        CheckpointError, match=r"are rounded or limited.* export it without its softmax"
    ):
        write_ready(place, path, RGB, 1000, ask_classifier, 1.07)


@pytest.mark.parametrize(
    "after",
    [
        [node("Softmax", "logits_4d", "prob", axis=1)],
        [node("Softmax", "logits_4d", "p", axis=1), node("Flatten", "p", "prob")],
        [node("Flatten", "logits_4d", "f"), node("Softmax", "f", "prob", axis=1)],
        [
            node("Flatten", "logits_4d", "f"),
            node("Softmax", "f", "p", axis=-1),
            node("Identity", "p", "prob"),
        ],
    ],
    ids=["4d", "flattened after", "flattened before", "identity"],
)
def test_softmax_is_not_doubled(tmp_path, after):
    """A classifier that already gives probabilities keeps them, also if it reshapes them afterwards."""
    gives: list[int | str] = ["N", 1000, 1, 1] if len(after) == 1 else ["N", 1000]

    rows = serve(tmp_path, save(tmp_path, classifier(*after, gives=gives))).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


def test_fixed_batch_size_is_freed(tmp_path):
    """A classifier that was exported for one image takes any number of them."""
    fixed = classifier(takes=(TensorProto.FLOAT, [1, 3, CROP, CROP]), gives=[1, 1000, 1, 1])
    fixed.graph.value_info.append(
        helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])
    )

    session = serve(tmp_path, save(tmp_path, fixed))

    for count in (1, 2, 3):
        assert pytest.approx(expected(BATCH[:count]), abs=1e-6) == session.run(BATCH[:count])


def test_unnamed_sizes_are_taken_for_right(tmp_path):
    """A file that does not name its height and classes is accepted."""
    vague = classifier(takes=(TensorProto.FLOAT, ["N", 3, "H", "W"]), gives=["N", "C", 1, 1])

    rows = serve(tmp_path, save(tmp_path, vague)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


@pytest.mark.parametrize(
    ("source", "result"),
    [("image", "probabilities"), ("served_float", "served_flat"), ("image", "served_centred")],
)
def test_their_names_may_be_ours(tmp_path, source, result):
    """A classifier that calls its values as the serving graph does is no trouble."""
    theirs = classifier(source=source, result=result)

    rows = serve(tmp_path, save(tmp_path, theirs)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


def test_weights_listed_as_inputs(tmp_path):
    """Before IR version 4 every weight was an input too, as in the ONNX Model Zoo."""
    old = classifier(opset=7, ir_version=3, weights_are_inputs=True)

    rows = serve(tmp_path, save(tmp_path, old)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


@pytest.mark.parametrize("opset", [7, 11, 13, 17, 21])
def test_opsets(tmp_path, opset):
    """The nodes around a classifier mean the same in each of its opsets."""
    rows = serve(tmp_path, save(tmp_path, classifier(opset=opset))).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


def test_weights_in_constant_nodes(tmp_path):
    """There may be nothing to put into the file of weights; it is there all the same."""
    model = classifier()
    weight = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=weight))

    rows = serve(tmp_path, save(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


def test_omitted_optional_inputs_stay_omitted(tmp_path):
    """Inputs without a name are not renamed."""
    low = helper.make_node("Clip", ["logits_4d", "", "high"], ["clipped"])
    model = classifier(low, node("Flatten", "clipped", "logits"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e9, np.float32), "high"))

    rows = serve(tmp_path, save(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


def test_file_name_does_not_matter(tmp_path):
    """An ONNX file with the suffix .json is read as ONNX."""
    path = save(tmp_path, classifier()).rename(tmp_path / "theirs.json")

    rows = serve(tmp_path, path).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


# --- what cannot -----------------------------------------------------------------------


def refusal(folder: Path, path: Path, preprocess: Preprocess = RGB) -> str:
    """Return the sentence that a file is refused with, behind its name."""
    with pytest.raises(CheckpointError) as caught:
        write_ready(folder, path, preprocess, 1000, ask_classifier)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("takes", "shown"),
    [
        ((TensorProto.UINT8, ["N", 3, CROP, CROP]), "takes UINT8 [0, 3, 8, 8]"),
        ((TensorProto.DOUBLE, ["N", 3, CROP, CROP]), "takes DOUBLE [0, 3, 8, 8]"),
        ((TensorProto.FLOAT, ["N", CROP, CROP, 3]), "takes FLOAT [0, 8, 8, 3]"),
        ((TensorProto.FLOAT, ["N", 1, CROP, CROP]), "takes FLOAT [0, 1, 8, 8]"),
        ((TensorProto.FLOAT, ["N", 3, 9, 9]), "takes FLOAT [0, 3, 9, 9]"),
        ((TensorProto.FLOAT, [3, CROP, CROP]), "takes FLOAT [3, 8, 8]"),
    ],
)
def test_wrong_input(tmp_path, takes, shown):
    """The error shows type, layout, channels and crop beside those of the manifest."""
    path = save(tmp_path, classifier(takes=takes))

    assert f"{shown}, expected FLOAT or FLOAT16 [N, 3, 8, 8] with the crop of the manifest" == (
        refusal(tmp_path, path)
    )


def test_two_inputs(tmp_path):
    """A model that needs something besides the image is no image classifier."""
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))

    assert "has 2 inputs, expected one, the image" == refusal(tmp_path, save(tmp_path, model))


@pytest.mark.parametrize("opset", [1, 6])
def test_old_opset(tmp_path, opset):
    """Before opset 7 Sub and Div meant something else."""
    path = save(tmp_path, classifier(opset=opset))

    assert f"uses ONNX opset {opset}, expected 7 or newer" == refusal(tmp_path, path)


def test_opset_of_others_does_not_count(tmp_path):
    """The version of other operators has nothing to do with the standard ones."""
    path = save(tmp_path, classifier(opset=99, domain="com.example"))

    assert "uses ONNX opset 1, expected 7 or newer" == refusal(tmp_path, path)


def test_opset_by_its_long_name(tmp_path):
    """`ai.onnx` is another name of the standard operators."""
    write_ready(tmp_path, save(tmp_path, classifier(domain="ai.onnx")), RGB, 1000, ask_classifier)

    assert (tmp_path / GRAPH_FILE).exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "theirs.onnx"),
        (b"not a model, only words", "theirs.onnx"),
        (b"<!DOCTYPE html><html>404</html>", "theirs.onnx"),
        (b"\x80\x04\x95 pickle", "theirs.onnx"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "theirs.onnx"),
        (b"{}", "theirs.json"),
        (b"hello", "theirs.textproto"),
        (bytes(1000), "theirs.onnx"),
    ],
)
def test_not_onnx(tmp_path, content, name):
    """Any other file is refused in one sentence, whatever its name."""
    path = tmp_path / name
    path.write_bytes(content)

    assert refusal(tmp_path, path).startswith("is not an ONNX file, or ")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_truncated(tmp_path, share):
    """A file that was cut anywhere is not taken for a smaller model."""
    path = save(tmp_path, classifier())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    assert refusal(tmp_path, path)


def test_not_there(tmp_path):
    """A file that cannot be opened is an OSError, which the caller words."""
    with pytest.raises(OSError, match="No such file"):
        write_ready(tmp_path, tmp_path / "none.onnx", RGB, 1000, ask_classifier)


# --- a real one ------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("photo", "index", "label", "probability"),
    [("chelsea", 285, "Egyptian cat", 0.60), ("coffee", 967, "espresso", 0.72)],
)
def test_real_classifier_on_a_real_photo(tmp_path, photo, index, label, probability):
    """SqueezeNet sees a cat where there is one: pixels, channels, classes and labels agree."""
    path = DATA / "squeezenet1_0.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    preprocess = Preprocess(256, 227, "BGR", (104, 117, 123), (1, 1, 1))
    session = serve(tmp_path, path, preprocess)
    pixels, _ = prepare((PHOTOS / f"{photo}.jpg").read_bytes(), preprocess, ImageLimits())

    rows = session.run(np.stack([pixels, pixels]))

    (best,) = top_k(rows[0], load_labels("imagenet-1k", tmp_path), 1)
    assert (index, label) == (best.class_index, best.label)
    assert pytest.approx(probability, abs=0.05) == best.probability
    assert 1e-6 > np.abs(rows[0] - rows[1]).max()
