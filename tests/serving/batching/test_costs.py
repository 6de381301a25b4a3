import pytest

from app.serving.batching.costs import CostTracker, RunCost


def test_a_line_is_fitted_exactly():
    """Costs on a line give that line."""
    cost = RunCost.fit({1: 0.012, 2: 0.022, 4: 0.042, 8: 0.082})

    assert pytest.approx((0.010, 0.002)) == (cost.per_image, cost.per_run)
    assert pytest.approx(0.162) == cost(16)


@pytest.mark.parametrize("measured", [{1: 0.1}, {1: 0.1, 2: 0.3}, {1: 0.3, 2: 0.3, 4: 0.2}])
def test_costs_are_never_negative(measured):
    """Whatever was measured, no size costs less than zero."""
    cost = RunCost.fit(measured)

    assert cost.per_image >= 0
    assert cost.per_run >= 0
    assert cost(1) > 0


def test_the_tracker_follows_a_machine_that_became_slower():
    """After some runs at half the speed, the prediction has doubled."""
    tracker = CostTracker(RunCost.fit({1: 0.1, 2: 0.2}))
    for _ in range(50):
        tracker.observe(2, 0.4)

    assert pytest.approx(0.2, rel=0.02) == tracker(1)


def test_one_slow_run_has_little_effect():
    """A single run that takes a hundred times as long at most triples the prediction."""
    tracker = CostTracker(RunCost.fit({1: 0.1}))
    tracker.observe(1, 10.0)

    assert tracker(1) <= 0.3


def test_the_doubt_grows_with_the_differences_between_runs():
    """Runs of one length leave none; runs 5 % above and below the mean leave 20 %, at most 50 %."""
    steady, restless, wild = (CostTracker(RunCost.fit({1: 0.1})) for _ in range(3))
    for turn in range(100):
        steady.observe(1, 0.1)
        restless.observe(1, 0.105 if turn % 2 else 0.095)
        wild.observe(1, 1.0 if turn % 2 else 0.06)

    assert 0 == steady.doubt
    assert pytest.approx(0.2, rel=0.1) == restless.doubt
    assert 0.5 == wild.doubt


def test_the_wait_includes_the_extra_time_of_a_run_compared_to_warm_up():
    """There is none on a machine that became faster, nor without a wait."""
    slower, faster = CostTracker(RunCost.fit({1: 0.1})), CostTracker(RunCost.fit({1: 0.1}))
    for _ in range(200):
        slower.observe(1, 0.15)
        faster.observe(1, 0.08)

    assert pytest.approx(1.05) == slower.at_most(1.0, 1)
    assert pytest.approx(1.0) == faster.at_most(1.0, 1)
    assert 0 == slower.at_most(0.0, 1)
