"""Which plans are tried for which network."""

import pytest

from app.conv_plan import DIRECT, plans
from app.vgg import CONFIGURATIONS, VggConfig


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_plans_lower_only_what_can_be(configuration):
    """3x3 kernels alone; a plan with small maps stacked has no other kernel among them."""
    rows = VggConfig(configuration).layers()
    for plan in plans(VggConfig(configuration)):
        assert {3} >= {row.kernel for row in rows if plan.lowers(row)}


def test_the_first_lowers_nothing_and_the_last_most():
    """Direct is always among them; the last is what VGG_CONV=winograd takes."""
    found = plans(VggConfig("D"))
    lowered = [sum(plan.lowers(row) for row in VggConfig("D").layers()) for plan in found]

    assert DIRECT == found[0]
    assert 0 == lowered[0]
    assert sorted(lowered) == lowered
    assert 10 == lowered[-1]  # all from conv2_2 on


def test_configuration_c_keeps_its_small_maps():
    """It has 1x1 kernels there."""
    assert not any(plan.stacked for plan in plans(VggConfig("C")))
    assert any(plan.strips for plan in plans(VggConfig("C")))
