"""The fastest plan is found by measuring, once, and a doubtful gain is none."""

import json
import os
import sys

import numpy as np
import pytest

from app.conv_choice import CHOICE_FILE, PlanChooser, Trial, measure_plan
from app.conv_plan import DIRECT, plans
from app.errors import RunFailedError
from app.runtime import channel_block
from app.vgg import VggConfig

VGG16 = VggConfig("D")
PLANS = plans(16)
ANSWERS = np.full((4, 1000), 0.001, np.float32)


class Stopwatch:
    """Gives times as they are told, by the number of the plan; notes what it was asked for."""

    def __init__(self, *seconds):
        """Take (alone, in a batch) for each plan."""
        self.seconds = seconds
        self.asked = []

    def __call__(self, _config, plan, threads, images, _folder):
        """Time a plan."""
        assert 4 == images
        self.asked.append((PLANS.index(plan), threads))
        alone, batch = self.seconds[self.asked[-1][0]]
        return Trial(alone, batch, ANSWERS)


def choose(
    folder, stopwatch, *, choice="auto", threads=2, config=VGG16, tried=PLANS, told=lambda: None
):
    """Choose as a fresh process would."""
    return PlanChooser(choice, folder, threads, 4, tried, stopwatch)(config, told)


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
    """The next start remembers; it tells only when it measures."""
    told = []
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))

    first = choose(tmp_path / "new" / "folder", stopwatch, told=lambda: told.append("measuring"))
    again = choose(tmp_path / "new" / "folder", stopwatch, told=lambda: told.append("measuring"))

    assert PLANS[2] == first == again
    assert [(0, 2), (1, 2), (2, 2)] == stopwatch.asked
    assert ["measuring"] == told


@pytest.mark.parametrize("other", [{"threads": 4}, {"config": VggConfig("E")}])
def test_another_machine_or_network_measures_for_itself(tmp_path, other):
    """And what was measured before stays."""
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))
    choose(tmp_path, stopwatch)

    choose(tmp_path, stopwatch, **other)
    choose(tmp_path, stopwatch)

    assert 2 * len(PLANS) == len(stopwatch.asked)
    assert 2 == len(json.loads((tmp_path / CHOICE_FILE).read_text()))


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 1}', '{"a": {"plan": null}}', '{"a": {}}']
)
def test_a_file_of_somebody_else_is_measured_over(tmp_path, content):
    """Whatever stands there, nothing fails."""
    (tmp_path / CHOICE_FILE).write_text(content)

    chosen = choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))

    assert PLANS[2] == chosen


def test_a_plan_of_a_former_release_is_none(tmp_path):
    """What is remembered and is tried no more is not built."""
    stopwatch = Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8))
    choose(tmp_path, stopwatch)
    file = tmp_path / CHOICE_FILE
    known = json.loads(file.read_text())
    for choice in known.values():
        choice["plan"] = {"strips": {"conv9_9": 2}, "stacked": True}
    file.write_text(json.dumps(known))

    assert DIRECT == choose(tmp_path, stopwatch)


@pytest.mark.parametrize(("choice", "plan"), [("direct", PLANS[0]), ("winograd", PLANS[-1])])
def test_what_is_set_is_not_measured(tmp_path, choice, plan):
    """Nor is anything written."""
    stopwatch = Stopwatch()

    assert plan == choose(tmp_path, stopwatch, choice=choice)
    assert [] == stopwatch.asked
    assert [] == list(tmp_path.iterdir())


def test_a_small_network_is_not_measured(tmp_path):
    """Its convolutions are not what a request waits for; who sets winograd gets it all the same."""
    small = VggConfig("D", group_channels=(4, 8, 16, 32, 32))

    assert DIRECT == choose(tmp_path, Stopwatch(), config=small)
    assert DIRECT != choose(tmp_path, Stopwatch(), config=small, choice="winograd")


def test_a_full_disk_ends_in_direct(tmp_path):
    """The service starts all the same, and the next start tries again."""

    def full(*_):
        raise OSError(28, "No space left on device")

    assert DIRECT == choose(tmp_path, full)
    assert not (tmp_path / CHOICE_FILE).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="files have no mode there")
def test_another_user_may_read_the_choice(tmp_path):
    """A folder that root has filled is served by somebody who may only read it."""
    before = os.umask(0o022)
    try:
        choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))
    finally:
        os.umask(before)

    assert 0o644 == (tmp_path / CHOICE_FILE).stat().st_mode & 0o777


def test_what_a_killed_process_left_goes(tmp_path):
    """A candidate has up to 300 MB, and the process may be told to end while it is timed."""
    left = tmp_path / ".measuring-abc"
    left.mkdir()
    (left / "weights.bin").write_bytes(b"half")

    choose(tmp_path, Stopwatch((1, 1), (0.9, 0.9), (0.8, 0.8)))

    assert not left.exists()


def test_a_real_measurement_leaves_nothing_behind(tmp_path):
    """Seconds alone and in a batch, of a graph that is gone after."""
    config = VggConfig("A", group_channels=(16, 32, 32, 32, 32), side=64)

    trials = [measure_plan(config, plan, 2, 4, tmp_path) for plan in plans(channel_block())]

    for trial in trials:
        assert trial.alone > 0
        assert trial.batch > 0
        np.testing.assert_allclose(trials[0].answers, trial.answers, atol=1e-6)
    assert len({row.tobytes() for row in trials[0].answers}) == 4, "every picture gets the same"
    assert [] == list(tmp_path.iterdir())


def test_a_plan_that_cannot_run_here_does_not_win(tmp_path):
    """It is told, and the others are measured."""

    def measure(_config, plan, *_):
        number = PLANS.index(plan)
        if number == 2:
            raise RunFailedError("The model failed on this batch.")
        return Trial(*[(1.0, 1.0), (0.9, 0.9)][number], ANSWERS)

    assert PLANS[1] == choose(tmp_path, measure)
    assert PLANS[1] == choose(tmp_path, Stopwatch())


def test_a_plan_that_changes_answers_does_not_win(tmp_path, caplog):
    """However fast: another release may understand a graph in another way, without an error."""

    def measure(_config, plan, *_):
        number = PLANS.index(plan)
        return Trial(1 / (1 + number), 1 / (1 + number), ANSWERS + np.float32(number == 2) * 2e-4)

    assert PLANS[1] == choose(tmp_path, measure)
    assert "changes answers by 2.0e-04" in caplog.text


@pytest.mark.parametrize("choice", ["auto", "winograd"])
def test_where_nothing_can_be_lowered_nothing_is_measured(tmp_path, caplog, choice):
    """On a processor for which onnxruntime has no such layout; who asked for it is told."""
    assert DIRECT == choose(tmp_path, Stopwatch(), choice=choice, tried=plans(0))

    assert ("VGG_CONV=winograd" in caplog.text) is (choice == "winograd")
    assert [] == list(tmp_path.iterdir())
