"""Which plans are tried, and what they lower."""

import pytest

from app.conv_plan import DIRECT, PLANS, ConvPlan
from app.vgg import CONFIGURATIONS, VggConfig


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
    """Direct is the first; the last is what VGG_CONV=winograd takes."""
    counts = [len(lowered(plan, configuration)) for plan in PLANS]

    assert DIRECT == PLANS[0]
    assert 0 == counts[0]
    assert sorted(set(counts)) == counts


def test_a_plan_lowers_from_its_first_layer_on():
    """By the order of the network, which is that of the names."""
    names = [row.name for row in VggConfig("E").layers() if row.kind == "convolution"]
    assert names[2:] == lowered(ConvPlan("conv2_1"), "E")
    assert names[8:] == lowered(ConvPlan("conv4_1"), "E")
    assert names == lowered(ConvPlan("conv1_1"), "E")
