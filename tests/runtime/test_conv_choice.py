"""The fastest plan is found by measuring, once, and a doubtful gain is none."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from app.errors import RunFailedError
from app.graph.conv_plan import DIRECT, plans
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import CONFIGURATIONS, VggConfig
from app.records import Layer, Preprocess
from app.runtime.conv_choice import CHOICE_FILE, PlanChooser, Trial, lively_layers, try_plan
from app.runtime.cpu_session import CpuSession
from app.runtime.ort import channel_block
from app.setup_errors import SessionError

VGG16 = VggConfig("D")
PLANS = plans(16)
ANSWERS = np.full((4, 1000), 0.001, np.float32)


class Stopwatch:
    """Returns the given times, by the number of the plan; records every call."""

    def __init__(self, *seconds):
        """Take (alone, in a batch) for each plan."""
        self.seconds = seconds
        self.asked = []

    def __call__(self, _config, plan, threads, images, _folder):
        """Time a plan."""
        number = [one.first for one in PLANS].index(plan.first)
        self.asked.append((number, threads, images))
        alone, batch = self.seconds[number]
        return Trial(alone, batch, ANSWERS)


def choose(
    folder,
    stopwatch,
    *,
    choice="auto",
    threads=2,
    images=4,
    config=VGG16,
    tried=PLANS,
    measuring=lambda: None,
):
    """Choose as a fresh process would."""
    return PlanChooser(choice, folder, threads, images, tried, stopwatch)(config, measuring)


@pytest.mark.parametrize(
    ("times", "winner"),
    [
        ([(1, 1), (0.9, 0.9), (0.8, 0.8)], 2),
        ([(1, 1), (0.7, 1.0), (1.0, 0.7)], 2),
        ([(1, 1), (0.5, 0.5), (0.8, 0.8)], 1),
        ([(1, 1), (0.97, 0.97), (1.2, 0.99)], 0),
        ([(1, 1), (2.0, 0.7), (3.0, 0.5)], 0),
    ],
)
def test_times_decide(tmp_path, times, winner):
    """A batch counts twice; less than 5 % is no gain; a gain in a batch does not excuse all."""
    assert PLANS[winner] == choose(tmp_path, Stopwatch(*times))


def test_it_is_measured_once(tmp_path):
    """The next start remembers the result; `measuring` is called only for a measurement."""
    calls = []
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))

    first = choose(
        tmp_path / "new" / "folder", stopwatch, measuring=lambda: calls.append("measuring")
    )
    again = choose(
        tmp_path / "new" / "folder", stopwatch, measuring=lambda: calls.append("measuring")
    )

    assert PLANS[2] == first == again
    assert [(0, 2, 4), (1, 2, 4), (2, 2, 4)] == stopwatch.asked
    assert ["measuring"] == calls


@pytest.mark.parametrize(
    "other",
    [{"threads": 4}, {"images": 1}, {"config": VggConfig("E")}, {"tried": plans(8)}],
    ids=["threads", "images", "network", "block"],
)
def test_another_machine_or_network_measures_for_itself(tmp_path, other):
    """Earlier measurements stay."""
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))
    choose(tmp_path, stopwatch)

    choose(tmp_path, stopwatch, **other)
    choose(tmp_path, stopwatch)

    assert 2 * len(PLANS) == len(stopwatch.asked)
    assert 2 == len(json.loads((tmp_path / CHOICE_FILE).read_text()))


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 1}', '{"a": {"direct": null}}', "[" * 100_000]
)
def test_a_file_of_somebody_else_is_measured_over(tmp_path, content):
    """A file with any other content is replaced."""
    (tmp_path / CHOICE_FILE).write_text(content)

    chosen = choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))

    assert PLANS[2] == chosen


@pytest.mark.parametrize(
    "entry",
    [
        {"plan": {"strips": {"conv9_9": 2}, "stacked": True}},
        {"direct": None, "conv4_1": None, "conv2_1": None},
        {"direct": [1, 1], "conv4_1": [1, 1]},
        {"direct": [1, 1], "conv4_1": [1], "conv2_1": [1, 1]},
        {"direct": [1, 1], "conv4_1": ["x", 1], "conv2_1": [1, 1]},
        {"direct": [1, 1], "conv4_1": [-1, 1], "conv2_1": [0, 0]},
    ],
)
def test_what_is_not_understood_is_measured_again(tmp_path, entry):
    """An entry of a former release, or edited."""
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))
    choose(tmp_path, stopwatch)
    file = tmp_path / CHOICE_FILE
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), entry)))

    assert PLANS[2] == choose(tmp_path, stopwatch)
    assert 2 * len(PLANS) == len(stopwatch.asked)


def test_it_can_be_read(tmp_path):
    """Seconds alone and in a batch, by the layer from which on a plan lowers."""
    choose(tmp_path, Stopwatch((1, 1), (0.9, 0.8), (0.7, 0.6)))

    (entry,) = json.loads((tmp_path / CHOICE_FILE).read_text()).values()
    assert {"direct": [1, 1], "conv4_1": [0.9, 0.8], "conv2_1": [0.7, 0.6]} == entry


def test_direct_is_not_measured(tmp_path):
    """Nor is anything written."""
    stopwatch = Stopwatch()

    assert DIRECT == choose(tmp_path, stopwatch, choice="direct")
    assert [] == stopwatch.asked
    assert [] == list(tmp_path.iterdir())


def test_winograd_is_taken_however_slow(tmp_path):
    """But tried all the same: it has to give the right answers."""
    stopwatch = Stopwatch((1, 1), (2, 2), (3, 3))

    assert PLANS[2] == choose(tmp_path, stopwatch, choice="winograd")
    assert DIRECT == choose(tmp_path, stopwatch)
    assert len(PLANS) == len(stopwatch.asked)


def test_large_batches_are_not_tried(tmp_path):
    """They take minutes and gigabytes, and give the same order as batches of 8."""
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))

    choose(tmp_path, stopwatch, images=1024)
    choose(tmp_path, stopwatch, images=8)

    assert [(0, 2, 8), (1, 2, 8), (2, 2, 8)] == stopwatch.asked


def test_a_small_network_is_not_measured(tmp_path):
    """A request does not wait for its convolutions; VGG_CONV=winograd is obeyed all the same."""
    small = VggConfig("D", group_channels=(4, 8, 16, 32, 32))

    assert DIRECT == choose(tmp_path, Stopwatch(), config=small)
    times = [(1, 1)] * 3
    assert PLANS[2] == choose(tmp_path, Stopwatch(*times), config=small, choice="winograd")


def test_a_full_disk_ends_in_direct(tmp_path):
    """The service starts all the same, and the next start tries again."""

    def full(*_):
        raise OSError(28, "No space left on device")

    assert DIRECT == choose(tmp_path, full)
    assert not (tmp_path / CHOICE_FILE).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="files have no mode there")
def test_another_user_may_read_the_choice(tmp_path):
    """The folder may belong to root and be served by a user who may only read it."""
    before = os.umask(0o022)
    try:
        choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))
    finally:
        os.umask(before)

    assert 0o644 == (tmp_path / CHOICE_FILE).stat().st_mode & 0o777


def test_what_a_killed_process_left_goes(tmp_path):
    """A candidate has up to 300 MB, and the process may be killed while it is measured."""
    left = tmp_path / ".measuring-abc"
    left.mkdir()
    (left / "weights.bin").write_bytes(b"half")

    choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))

    assert not left.exists()


@pytest.mark.parametrize("error", [RunFailedError, SessionError, MemoryError])
def test_a_plan_that_cannot_run_here_does_not_win(tmp_path, error):
    """It is logged and remembered, and the others are measured."""

    def measure(_config, plan, *_):
        number = PLANS.index(plan)
        if number == 2:
            raise error("The model failed on this batch.")
        return Trial(*[(1.0, 1.0), (0.9, 0.9)][number], ANSWERS)

    assert PLANS[1] == choose(tmp_path, measure)
    assert PLANS[1] == choose(tmp_path, Stopwatch())


def test_a_plan_that_changes_answers_does_not_win(tmp_path, caplog):
    """However fast: another release may understand a graph in another way, without an error."""

    def measure(_config, plan, *_):
        number = PLANS.index(plan)
        other = np.where(np.arange(4)[:, np.newaxis] == 3, number == 2, 0) * np.float32(2e-6)
        return Trial(1 / (1 + number), 1 / (1 + number), ANSWERS + other)

    for choice in ("auto", "winograd"):
        assert PLANS[1] == choose(tmp_path, measure, choice=choice)
    assert "conv2_1 on give other answers" in caplog.text


@pytest.mark.parametrize("error", [RunFailedError, SessionError, MemoryError])
def test_a_reference_that_fails_chooses_nothing(tmp_path, error):
    """Convolutions stay direct; if something is wrong, loading the model says so."""

    def measure(*_):
        raise error("No.")

    assert DIRECT == choose(tmp_path, measure)
    assert not (tmp_path / CHOICE_FILE).exists()


@pytest.mark.skipif(not channel_block(), reason="no layout in blocks on this processor")
def test_a_real_trial_finds_that_all_plans_agree(tmp_path):
    """With the real `try_plan`, of a network that is small but worth it."""
    config = VggConfig("A", group_channels=(32, 64, 64, 64, 64), side=224)
    tried = plans(channel_block())

    choose(tmp_path, try_plan, config=config, choice="winograd", tried=tried)

    (entry,) = json.loads((tmp_path / CHOICE_FILE).read_text()).values()
    assert all(entry[plan.first or "direct"] for plan in tried)


@pytest.mark.parametrize("choice", ["auto", "winograd"])
def test_where_nothing_can_be_lowered_nothing_is_measured(tmp_path, caplog, choice):
    """On a processor without such a layout; for VGG_CONV=winograd the log says why."""
    assert DIRECT == choose(tmp_path, Stopwatch(), choice=choice, tried=plans(0))

    assert ("VGG_CONV=winograd" in caplog.text) is (choice == "winograd")
    assert [] == list(tmp_path.iterdir())


# --- trials ----------------------------------------------------------------------------

lowering = pytest.mark.skipif(not channel_block(), reason="no layout in blocks on this processor")
MOST = plans(channel_block() or 16)[-1]


def small(configuration):
    """Make a network whose layers can be lowered in blocks of 8 and of 16."""
    return VggConfig(configuration, group_channels=(16, 32, 32, 32, 32), side=64)


@lowering
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_right_plan_agrees_and_a_wrong_layout_does_not(tmp_path, configuration):
    """In every network answers are neither all alike nor a single class, which would hide mistakes."""
    direct, right, wrong = (
        try_plan(small(configuration), plan, 1, 2, tmp_path)
        for plan in (DIRECT, MOST, replace(MOST, block=24 - MOST.block))
    )

    assert right.agrees(direct)
    assert direct.agrees(right)
    assert not wrong.agrees(direct)
    assert 0.002 < direct.answers.max() < 0.95


def test_every_bias_shows(tmp_path):
    """A missing one changes the answers far beyond the tolerance."""
    config, before = small("A"), Preprocess(64, 64, "RGB", (127.5,) * 3, (73.9,) * 3)
    pixels = np.random.default_rng(0).integers(256, size=(2, 64, 64, 3), dtype=np.uint8)
    answers = {}
    for lost in (None, *config.weight_shapes()):
        layers = (
            (name, Layer(layer.weight, layer.bias * np.float32(name != lost)))
            for name, layer in lively_layers(config)
        )
        write_vgg(tmp_path, config, layers, before)
        answers[lost] = Trial(1, 1, CpuSession(tmp_path / GRAPH_FILE).run(pixels))

    assert [None] == [name for name, trial in answers.items() if trial.agrees(answers[None])]


def test_times_are_of_one_image(tmp_path):
    """Times are per image, answers those of the whole batch, and no file is left behind."""
    trial = try_plan(small("A"), DIRECT, 1, 3, tmp_path)

    assert 0 < trial.alone < 1
    assert 0 < trial.batch < 1
    assert (3, 1000) == trial.answers.shape
    assert [] == list(tmp_path.iterdir())


def test_one_picture_that_differs_is_enough():
    """All of them are compared, in both directions."""
    answers = np.full((3, 1000), 0.001, np.float32)
    other = answers.copy()
    other[2, 7] *= 1.01

    assert Trial(1, 1, answers).agrees(Trial(2, 2, answers + np.float32(1e-8)))
    assert not Trial(1, 1, answers).agrees(Trial(1, 1, other))
    assert not Trial(1, 1, answers).agrees(Trial(1, 1, np.full_like(answers, np.nan)))
