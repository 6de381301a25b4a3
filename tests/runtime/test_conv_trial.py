"""A trial measures how long a plan takes, and whether it computes the same network."""

from dataclasses import replace

import numpy as np
import pytest

from app.graph.conv_plan import DIRECT, plans
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import CONFIGURATIONS, VggConfig
from app.records import Layer, Preprocess
from app.runtime.conv_trial import Trial, lively_layers, try_plan
from app.runtime.cpu_session import CpuSession
from app.runtime.ort import channel_block

lowering = pytest.mark.skipif(not channel_block(), reason="no layout in blocks on this processor")
PLAN = plans(channel_block() or 16)[-1]


def small(configuration):
    """Make a network whose layers can be lowered in blocks of 8 and of 16."""
    return VggConfig(configuration, group_channels=(16, 32, 32, 32, 32), side=64)


@lowering
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_right_plan_agrees_and_a_wrong_layout_does_not(tmp_path, configuration):
    """In every network answers are neither all alike nor a single class, which would hide mistakes."""
    direct, right, wrong = (
        try_plan(small(configuration), plan, 1, 2, tmp_path)
        for plan in (DIRECT, PLAN, replace(PLAN, block=24 - PLAN.block))
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
