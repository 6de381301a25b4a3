"""The plans that are tried, and the layers that they lower."""

import pytest

from app.graph.conv_plan import DIRECT, ConvPlan, plans
from app.graph.vgg import CONFIGURATIONS, VggConfig

PLANS = plans(16)


def lowered(plan, configuration):
    """Name the layers that a plan lowers."""
    return [row.name for row in VggConfig(configuration).layers() if plan.lowers(row)]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("plan", PLANS)
def test_plans_lower_only_what_can_be(configuration, plan):
    """3x3 kernels alone: neither those of 1x1 in configuration C, nor pooling, nor fully connected."""
    rows = {row.name: row for row in VggConfig(configuration).layers()}
    assert {3} >= {rows[name].kernel for name in lowered(plan, configuration)}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_each_lowers_more_than_the_one_before(configuration):
    """Direct is the first; VGG_CONV=winograd uses the last."""
    counts = [len(lowered(plan, configuration)) for plan in PLANS]

    assert DIRECT == PLANS[0]
    assert 0 == counts[0]
    assert sorted(set(counts)) == counts


def test_nothing_is_lowered_without_blocks():
    """Where onnxruntime has no layout for it."""
    assert (DIRECT,) == plans(0)


@pytest.mark.parametrize("block", [8, 16])
def test_channels_come_in_whole_blocks(block):
    """A layer with any number of channels else stays as it is; those of a true VGG are lowered."""
    narrow = VggConfig("A", group_channels=(block, 12, block, 2 * block, 20))
    plan = ConvPlan("conv1_1", block)

    names = [row.name for row in narrow.layers() if plan.lowers(row)]

    assert ["conv3_2", "conv4_1", "conv4_2"] == names
    assert all(one.block == block for one in plans(block)[1:])
    assert 8 == len(lowered(plans(block)[-1], "B"))


def test_a_plan_lowers_from_its_first_layer_on():
    """By the order of the network, which is that of the names."""
    names = [row.name for row in VggConfig("E").layers() if row.kind == "convolution"]
    assert names[2:] == lowered(ConvPlan("conv2_1"), "E")
    assert names[8:] == lowered(ConvPlan("conv4_1"), "E")
    assert names[1:] == lowered(ConvPlan("conv1_1", 16), "E")
