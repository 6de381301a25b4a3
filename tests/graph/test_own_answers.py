"""Whatever ends a classifier's graph, and however, its probabilities are served as it gives them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from app.graph.own_answers import OwnAnswers, are_coarse, find_scores, meaning, read_answers
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import GRAPH_FILE, OUTPUT
from app.records import Preprocess
from app.runtime.cpu_session import CpuSession
from app.serving.ask_classifier import ask_classifier
from app.serving.warmup import self_test
from app.setup_errors import CheckpointError, SessionError

CROP = 8
PREPROCESS = Preprocess(CROP, CROP, "BGR", (10, 20, 30), (40, 50, 60))
WEIGHT = np.random.default_rng(0).normal(0, 1.5, (1000, 3)).astype(np.float32)
BATCH = np.random.default_rng(1).integers(0, 256, (3, CROP, CROP, 3), np.uint8)
BATCH[0], BATCH[1] = (250, 200, 90), (20, 220, 130)

SOFTMAX = "p = Softmax<axis=1>(logits)"
FUNCTION = """<domain: "mine", opset_import: ["": 17]>
    {name} (values) => (shares) {{ {body} }}"""
IF = """yes = Constant<value: tensor = bool[1] {{1}}>()
    prob = If(yes) <
        then_branch = graph () => (float[N,1000] a) {{ {then} }},
        else_branch = graph () => (float[N,1000] b) {{ b = Identity(logits) }}
    >"""


def classifier(
    tail: str,
    functions: str = "",
    gives: str = "float[N,1000]",
    takes: str = f"N,3,{CROP},{CROP}",
    opset: int = 17,
) -> ModelProto:
    """Make a classifier of the mean colour: `logits_4d`, `logits`, and what the tail makes of them."""
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["": {opset}, "mine": 1]>
        classifier (float[{takes}] image) => ({gives} prob)
        <float one = {{1}}, float fine = {{0.00390625}}, uint8 zero = {{0}}, int8 low = {{-128}},
         float finer = {{0.0000152587890625}}, uint16 zero16 = {{0}}, float none = {{0}}> {{
            mean = GlobalAveragePool(image)
            logits_4d = Conv(mean, weight)
            logits = Flatten(logits_4d)
            {tail}
        }}
        {functions}""")
    weight = numpy_helper.from_array(WEIGHT.reshape(1000, 3, 1, 1), "weight")
    model.graph.initializer.append(weight)
    return model


def expected(batch: np.ndarray) -> np.ndarray:
    """Compute the probabilities in float64."""
    mean = ((batch.astype(np.float64)[..., ::-1] - PREPROCESS.mean) / PREPROCESS.std).mean((1, 2))
    powers = np.exp(mean @ WEIGHT.T.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def build(folder: Path, model: ModelProto, classes: int = 1000) -> Path:
    """Build the serving graph."""
    theirs, place = folder / "theirs.onnx", folder / "serving"
    theirs.write_bytes(model.SerializeToString())
    place.mkdir()
    write_ready(place, theirs, PREPROCESS, classes, ask_classifier)
    return place / GRAPH_FILE


def refusal(folder: Path, model: ModelProto) -> str:
    """Return the sentence that a classifier is refused with."""
    with pytest.raises(CheckpointError) as caught:
        build(folder, model)
    return str(caught.value).removeprefix(f"{folder / 'theirs.onnx'}: ")


PROBABILITIES = {
    "softmax": "prob = Softmax<axis=1>(logits)",
    "identity": f"{SOFTMAX} prob = Identity(p)",
    "dropout": f"{SOFTMAX} prob = Dropout(p)",
    "cast there and back": f"{SOFTMAX} h = Cast<to=10>(p) prob = Cast<to=1>(h)",
    "clip": f"{SOFTMAX} prob = Clip(p, none, one)",
    "minimum": f"{SOFTMAX} prob = Min(p, one)",
    "relu": f"{SOFTMAX} prob = Relu(p)",
    "times one": f"{SOFTMAX} prob = Mul(p, one)",
    "plus nothing": f"{SOFTMAX} prob = Add(none, p)",
    "reshape": f"{SOFTMAX} s = Constant<value_ints=[-1,1000]>() prob = Reshape(p, s)",
    "flatten 4d": "p = Softmax<axis=1>(logits_4d) prob = Flatten(p)",
    "squeeze axes": "p = Softmax<axis=1>(logits_4d) s = Constant<value_ints=[2,3]>() prob = Squeeze(p, s)",
    "squeeze": "p = Softmax<axis=1>(logits_4d) prob = Squeeze(p)",
    "reduced": "p = Softmax<axis=1>(logits_4d) prob = ReduceMean<axes=[2,3], keepdims=0>(p)",
    "slices": f"""{SOFTMAX} h = Constant<value_ints=[400,600]>() a = Constant<value_int=1>()
        first, last = Split<axis=1>(p, h) prob = Concat<axis=1>(first, last)""",
    "transposed twice": f"{SOFTMAX} t = Transpose(p) prob = Transpose(t)",
    "softmax of the transposed": "t = Transpose(logits) p = Softmax<axis=0>(t) prob = Transpose(p)",
    "exp and div": """m = ReduceMax<axes=[1]>(logits) d = Sub(logits, m) e = Exp(d)
        s = ReduceSum<keepdims=1>(e, axis) prob = Div(e, s)""",
    "exp and reciprocal": """m = ReduceMax<axes=[1]>(logits) d = Sub(logits, m) e = Exp(d)
        s = ReduceSum<keepdims=1>(e, axis) r = Reciprocal(s) prob = Mul(e, r)""",
    "logsoftmax and exp": "l = LogSoftmax<axis=1>(logits) prob = Exp(l)",
    "divided by its norm": "e = Exp(logits) prob = LpNormalization<axis=1, p=1>(e)",
    "if": IF.format(then="a = Softmax<axis=1>(logits)"),
    "if with a constant": IF.format(then="q = Softmax<axis=1>(logits) a = Mul(q, one)"),
    "softmax before an if": f"{SOFTMAX} {IF.format(then='a = Identity(p)')}",
}


@pytest.mark.parametrize("tail", PROBABILITIES.values(), ids=PROBABILITIES)
def test_probabilities_stay_as_they_are(tmp_path, tail):
    """No softmax is put behind a softmax, whatever follows it or takes its place."""
    model = classifier(tail)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))

    rows = CpuSession(build(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=5e-4) == rows


@pytest.mark.parametrize("gives", ["float[N,1000,1,1]", "float[N,1,1,1000]", "float[N,M,K,L]"])
def test_output_of_rank_four(tmp_path, gives):
    """The classes may be any of its axes."""
    order = "0,2,3,1" if gives == "float[N,1,1,1000]" else "0,1,2,3"
    tail = f"p = Softmax<axis=1>(logits_4d) prob = Transpose<perm=[{order}]>(p)"

    rows = CpuSession(build(tmp_path, classifier(tail, gives=gives))).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


@pytest.mark.parametrize(("to", "gives"), [(10, "float16"), (11, "double")])
@pytest.mark.parametrize("softmax", [True, False], ids=["probabilities", "logits"])
def test_other_floating_point_types(tmp_path, to, gives, softmax):
    """Outputs in float16 and float64 are served as float32."""
    tail = f"{SOFTMAX if softmax else 'p = Identity(logits)'} prob = Cast<to={to}>(p)"

    rows = CpuSession(build(tmp_path, classifier(tail, gives=f"{gives}[N,1000]"))).run(BATCH)

    assert np.float32 == rows.dtype
    assert pytest.approx(expected(BATCH), abs=2e-3) == rows


@pytest.mark.parametrize(
    "scale_and_zero", ["fine, zero", "fine, low", "finer, zero16"], ids=["uint8", "int8", "uint16"]
)
def test_quantised_probabilities_stay_as_they_are(tmp_path, scale_and_zero):
    """Rounded to 1/256, a thousand probabilities hardly ever sum to 1; the self-test accepts that."""
    tail = f"""{SOFTMAX} q = QuantizeLinear(p, {scale_and_zero})
        prob = DequantizeLinear(q, {scale_and_zero})"""
    path = build(tmp_path, classifier(tail, opset=21))
    run = CpuSession(path).run

    rows = run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1 / 256) == rows
    self_test(run, BATCH[0], (1, 2), own=read_answers(path.parent))


@pytest.mark.parametrize("least", ["0.0000001", "0.0001", "0.0005"])
def test_probabilities_with_a_least_value(tmp_path, least):
    """A limit from below makes the sum larger than 1, and logits of nothing."""
    tail = f"{SOFTMAX} least = Constant<value_float={least}>() prob = Clip(p, least)"
    path = build(tmp_path, classifier(tail))
    run = CpuSession(path).run

    assert pytest.approx(expected(BATCH).clip(float(least)), abs=1e-6) == run(BATCH)
    self_test(run, BATCH[0], (1, 2), own=read_answers(path.parent))


@pytest.mark.parametrize(
    ("call", "functions"),
    [
        ("shares", FUNCTION.format(name="shares", body="shares = Softmax<axis=1>(values)")),
        ("Softmax", FUNCTION.format(name="Softmax", body="shares = Softmax<axis=1>(values)")),
        ("Softmax", FUNCTION.format(name="Softmax", body="shares = Identity(values)")),
        (
            "outer",
            '<domain: "mine", opset_import: ["": 17, "mine": 1]>'
            " outer (values) => (shares) { shares = mine.inner(values) }"
            + FUNCTION.format(
                name="inner", body="e = Exp(values) shares = LpNormalization<p=1>(e)"
            ),
        ),
    ],
    ids=["hidden softmax", "named as the operator", "no softmax of that name", "nested"],
)
def test_functions_are_not_judged_by_their_names(tmp_path, call, functions):
    """A function may hide a softmax, or be called so and be none."""
    rows = CpuSession(build(tmp_path, classifier(f"prob = mine.{call}(logits)", functions))).run(
        BATCH
    )

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


LOGITS = {
    "nothing": "prob = Identity(logits)",
    "log-probabilities": "prob = LogSoftmax<axis=1>(logits)",
    "log of a softmax": f"{SOFTMAX} prob = Log(p)",
    "shifted": "big = Constant<value_float=100.0>() prob = Add(logits, big)",
    "if": IF.format(then="a = Identity(logits)"),
    "a softmax that is not used": f"{SOFTMAX} nothing = Mul(p, none) prob = Add(logits, nothing)",
}


@pytest.mark.parametrize("tail", LOGITS.values(), ids=LOGITS)
def test_logits_get_a_softmax(tmp_path, tail):
    """Logits and log-probabilities become probabilities."""
    rows = CpuSession(build(tmp_path, classifier(tail))).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=2e-6) == rows


def test_wholly_in_float16(tmp_path):
    """The converters' default makes a graph that takes and gives float16."""
    model = classifier("h = Cast<to=10>(logits) prob = Softmax<axis=1>(h)", gives="float16[N,1000]")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "float"

    rows = CpuSession(build(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=5e-3) == rows


@pytest.mark.parametrize("fixed", [1, 3])
def test_fixed_batch(tmp_path, fixed):
    """A graph that takes a fixed number of images is asked with so many."""
    model = classifier(
        "prob = Softmax<axis=1>(logits)",
        gives=f"float[{fixed},1000]",
        takes=f"{fixed},3,{CROP},{CROP}",
    )

    rows = CpuSession(build(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


@pytest.mark.parametrize(
    "outputs",
    ["float[N,1000] prob, float[N,3,1,1] mean", "float[N,3,1,1] mean, float[N,1000] prob"],
)
def test_other_outputs_are_left_out(tmp_path, outputs):
    """The output that has a number per class is served, wherever it is in the list."""
    model = classifier("prob = Softmax<axis=1>(logits)")
    named = parser.parse_graph(f"g () => ({outputs}) {{ }}").output
    model.graph.ClearField("output")
    model.graph.output.extend(named)

    rows = CpuSession(build(tmp_path, model)).run(BATCH)

    assert pytest.approx(expected(BATCH), abs=1e-6) == rows


@pytest.mark.parametrize("second", ["logits", "other"])
def test_two_outputs_for_the_classes(tmp_path, second):
    """Logits beside their probabilities are no trouble; two different answers are, and are named."""
    model = classifier("prob = Softmax<axis=1>(logits) other = Neg(logits)")
    model.graph.output.append(helper.make_tensor_value_info(second, TensorProto.FLOAT, ["N", 1000]))

    if second == "logits":
        rows = CpuSession(build(tmp_path, model)).run(BATCH)
        assert pytest.approx(expected(BATCH), abs=1e-6) == rows
    else:
        assert (
            "has several outputs of 1000 numbers that differ, 'prob' and 'other': export it with one"
            == (refusal(tmp_path, model))
        )


@pytest.mark.parametrize(
    ("tail", "gives", "said"),
    [
        ("prob = Sigmoid(logits)", "float[N,1000]", "gives values from 0 to 1 that do not sum to 1 (but to"),
        (f"{SOFTMAX} prob = Mul(p, p)", "float[N,1000]", "gives values from 0 to 1 that do not sum to 1"),
        (
            f"{SOFTMAX} c = Constant<value_float=100.0>() prob = Mul(p, c)",
            "float[N,1000]",
            "gives values that sum to 100, per cent, expected probabilities that sum to 1, or logits:",
        ),
        ("prob = ArgMax<axis=1>(logits)", "int64[N,1]", "gives 'prob': int64 [1, 1] for 1 image(s), expected 1000"),
        (f"{SOFTMAX} prob = QuantizeLinear(p, fine, zero)", "uint8[N,1000]", "gives 'prob': uint8 [1, 1000] for"),
        ("prob = Div(logits, none)", "float[N,1000]", "gives values that are not finite numbers"),
        ("s = Sub(logits, logits) prob = Div(s, s)", "float[N,1000]", "gives values that are not finite numbers"),
        (f"{SOFTMAX} prob = Identity(mean)", "float[N,C,1,1]", "gives 'prob': float32 [1, 3, 1, 1] for 1 image(s),"),
        ("prob = Concat<axis=1>(logits, logits)", "float[N,C]", "gives 'prob': float32 [1, 2000] for 1 image(s),"),
        ("s = Constant<value_ints=[7,7]>() prob = Reshape(logits, s)", "float[N,C]", "cannot be run on an image, [1, 3, 8, 8]:"),
        ("prob = mine.Unknown(logits)", "float[N,1000]", "cannot be loaded by onnxruntime:"),
    ],
    ids=["sigmoid", "squares", "per cent", "index", "integers", "infinite", "not a number", "three", "two thousand", "no shape", "no operator"],
)  # fmt: skip
def test_other_numbers_are_refused(tmp_path, tail, gives, said):
    """What are neither probabilities nor logits of 1000 classes is said, by what came out."""
    assert refusal(tmp_path, classifier(tail, gives=gives)).startswith(said)


def few(classes: int, tail: str, stated: str = "classes") -> ModelProto:
    """Make a classifier of a few classes: the first rows of the weight."""
    model = classifier(tail, gives=f"float[N,{stated}]")
    weight = numpy_helper.from_array(WEIGHT[:classes].reshape(classes, 3, 1, 1), "weight")
    model.graph.initializer.pop()
    model.graph.initializer.append(weight)
    return model


@pytest.mark.parametrize("stated", ["10", "classes", "1000"])
@pytest.mark.parametrize("labels", [2, 9, 11, 1000])
def test_other_classes_never_get_names_that_are_not_theirs(tmp_path, stated, labels):
    """Ten classes are counted by running, whatever the graph says, and compared with the labels."""
    with pytest.raises(CheckpointError) as caught:
        build(tmp_path, few(10, "prob = Softmax<axis=1>(logits)", stated), labels)

    if stated != "1000":  # which onnxruntime itself may refuse
        assert (
            f"{tmp_path / 'theirs.onnx'}: gives 'prob': float32 [1, 10] for 1 image(s), expected"
            f" {labels} floating-point numbers for each, one per line of its labels"
        ) == str(caught.value)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    "tail",
    [
        "prob = Softmax<axis=1>(logits)",
        "prob = Identity(logits)",
        "prob = LogSoftmax<axis=1>(logits)",
        f"{SOFTMAX} prob = Clip(p, none, one)",
    ],
)
def test_few_classes(tmp_path, classes, tail):
    """Two or ten classes are served with labels of their own."""
    powers = expected(BATCH)[:, :classes]

    rows = CpuSession(build(tmp_path, few(classes, tail), classes)).run(BATCH)

    assert pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-5) == rows


@pytest.mark.parametrize("classes", [2, 10])
def test_several_labels_of_few_classes(tmp_path, classes):
    """Two or ten independent answers are no probabilities of one class each."""
    with pytest.raises(CheckpointError, match="from 0 to 1 that do not sum to 1"):
        build(tmp_path, few(classes, "prob = Sigmoid(logits)"), classes)


@pytest.mark.parametrize("shape", ["N,H,W,C", "N,C,H,W"])
def test_unnamed_layout_is_found_by_running(tmp_path, shape):
    """A graph that does not say that it wants the channels last is refused once it was run."""
    if shape == "N,C,H,W":
        build(tmp_path, classifier("prob = Identity(logits)", takes=shape))
    else:
        model = classifier("prob = Identity(logits)", takes=shape)
        model.graph.node.insert(
            0, helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2])
        )
        model.graph.node[1].input[0] = "nchw"
        assert refusal(tmp_path, model).startswith("cannot be run on an image, [1, 3, 8, 8]: ")


def test_a_second_softmax_fails_the_self_test(tmp_path):
    """The served answers are compared with those of the classifier itself."""
    path = build(tmp_path, classifier("prob = Softmax<axis=1>(logits)"))
    own = read_answers(path.parent)
    self_test(CpuSession(path).run, BATCH[0], (1,), own=own)
    graph = onnx.load(path, load_external_data=False)
    graph.graph.node[-1].output[0] = "once"
    graph.graph.node.append(helper.make_node("Softmax", ["once"], [OUTPUT], axis=1))
    path.write_bytes(graph.SerializeToString())

    with pytest.raises(
        SessionError, match=r"self-test: image 0 is of class .* by the classifier itself"
    ):
        self_test(CpuSession(path).run, BATCH[0], (1,), own=own)


def test_other_preprocessing_fails_the_self_test(tmp_path):
    """The graph's own preprocessing is compared with numpy's."""
    path = build(tmp_path, classifier("prob = Identity(logits)"))
    own = read_answers(path.parent)
    run = CpuSession(path).run

    with pytest.raises(SessionError, match="by the classifier itself"):
        self_test(lambda batch: run(batch[..., ::-1].copy()), BATCH[0], (1,), own=own)


@pytest.mark.parametrize("row", [np.zeros(1000), np.full(1000, 1e-3), np.full(1000, 7.0)])
def test_constant_answers(row):
    """A head that was never trained says the same of all images; it is no reason to refuse it."""
    answers = OwnAnswers(BATCH, 1, {"out": [row[np.newaxis].astype(np.float32)] * 3})

    assert find_scores(answers, 1000).meaning in {"logits", "probabilities"}


def test_what_has_lost_its_small_probabilities():
    """Rounded, cut off or gone below float32, but not what is only sharp, or the same of all classes."""
    logits = np.random.default_rng(0).normal(0, 5, (5, 1000))
    exact = np.exp(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    gone, uniform = exact.copy(), np.full((5, 1000), 1e-3, np.float32)
    gone[0, exact[0].argmin()] = 0

    assert [False, False] == [are_coarse(rows) for rows in (exact, uniform)]
    assert [True] * 5 == [
        are_coarse(rows)
        for rows in (
            exact.astype(np.float16),
            exact.astype(np.float16).astype(np.float32),
            (np.round(exact * 256) / 256).astype(np.float32),
            np.maximum(exact, np.float32(1e-6)),
            gone,
        )
    ]


def test_two_sharp_answers():
    """One class with all of the probability is a distribution as well, and so is a near tie."""
    rows = np.zeros((2, 1000), np.float32)
    rows[0, 5], rows[1, 6:8] = 1, 0.5

    assert "probabilities" == meaning(rows)
    assert "logits" == meaning(2 * rows - 1)
