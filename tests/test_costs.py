import pytest

from app.costs import CostTracker, RunCost


def test_line_is_found_again():
    """Costs that lie on a line give that line."""
    cost = RunCost.fit({1: 0.012, 2: 0.022, 4: 0.042, 8: 0.082})

    assert pytest.approx((0.010, 0.002)) == (cost.per_image, cost.per_run)
    assert pytest.approx(0.162) == cost(16)


@pytest.mark.parametrize("measured", [{1: 0.1}, {1: 0.1, 2: 0.3}, {1: 0.3, 2: 0.3, 4: 0.2}])
def test_costs_are_never_negative(measured):
    """However odd the measurement, no size costs less than nothing."""
    cost = RunCost.fit(measured)

    assert cost.per_image >= 0
    assert cost.per_run >= 0
    assert cost(1) > 0


def test_tracker_follows_a_machine_that_became_slower():
    """After some runs at half the speed the prediction has doubled."""
    tracker = CostTracker(RunCost.fit({1: 0.1, 2: 0.2}))
    for _ in range(50):
        tracker.observe(2, 0.4)

    assert pytest.approx(0.2, rel=0.02) == tracker(1)


def test_one_hiccup_does_not_upset_the_tracker():
    """A single run that took a hundred times as long is bounded in its effect."""
    tracker = CostTracker(RunCost.fit({1: 0.1}))
    tracker.observe(1, 10.0)

    assert tracker(1) <= 0.3
