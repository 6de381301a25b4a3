import pytest

from app.bench.summary import (
    Latency,
    combine,
    join,
    latency_of,
    percentile,
    summarise,
)
from tests.bench.conftest import run_of, sample


def test_latency_counts_due_requests_and_goodput_counts_answers():
    """A request counts in the time when it was due; its answer in the time when it arrived."""
    seen = summarise(
        run_of(
            sample(99.0, 2.0),  # due in the warm-up, answered in second 1
            sample(101.2, 0.5),
            sample(109.5, 3.0),  # due in time, answered after the end
            sample(110.5, 0.1),  # due after the end
        )
    )

    assert (2, 0.2) == (seen.answered.samples, seen.goodput)
    assert (0, 2, 0, 0, 0, 0, 0, 0, 0, 0) == seen.per_second
    assert pytest.approx(3000.0) == seen.answered.max
    assert pytest.approx(0.2) == seen.offered


def test_last_second_may_be_short():
    """A run of 2.5 s has three buckets."""
    assert (0, 0, 1) == summarise(run_of(sample(102.0, 0.4), seconds=2.5)).per_second


def test_latency_counts_from_when_it_was_due():
    """A request that was sent 7 ms late is 7 ms slower, and counts as late."""
    seen = summarise(run_of(sample(101, 0.1, began=101.007), sample(102, 0.1, began=102.003)))

    assert pytest.approx(100.0) == seen.answered.max
    assert (1, 2) == (seen.late, seen.requests)
    assert pytest.approx(7.0) == seen.lag.max


def test_batch_sizes_are_in_the_order_of_numbers():
    """Sizes are counted by request; answers without one are left out."""
    sizes = (16, 2, 16, 0)
    seen = summarise(run_of(*(sample(101, 0.1, batch_size=size) for size in sizes)))

    assert [("2", 1), ("16", 2)] == list(seen.batch_sizes.items())
    assert pytest.approx(34 / 3) == seen.mean_batch_size


def test_nothing_at_all_is_no_error():
    """A run without requests or of no length has zeros and unknown values."""
    for seconds in (10.0, 0.0, -1.0):
        seen = summarise(run_of(seconds=seconds))

        assert (0.0, 0.0, Latency(0)) == (seen.goodput, seen.offered, seen.answered)
        assert seen.mean_batch_size is None
        assert seen.cpu_per_request is None


def test_repeats_are_joined():
    """Rates are medians with their range, counts are sums, the first detail is kept."""
    runs = [
        summarise(
            run_of(
                *(sample(101 + n / 100, 0.1) for n in range(many)),
                sample(105, 0.1, 503, retry_after=many, detail=f"busy {many}"),
                sample(106, 0.1, 0),
                not_sent=[101.0],
                in_flight=1,
            )
        )
        for many in (10, 40, 20)
    ]
    joined = combine(runs)

    assert (2.0, 1.0, 4.0) == (joined.goodput, joined.goodput_lowest, joined.goodput_highest)
    assert {"200": 70, "503": 3} == joined.codes
    assert {"timed out": 3} == joined.failures
    assert {"503": "busy 10"} == joined.details
    assert (10.0, 40.0) == joined.retry_after
    assert (76, 3, 3, 3) == (
        joined.requests,
        joined.not_sent,
        joined.unfinished,
        joined.refused.samples,
    )
    assert pytest.approx(30.0) == joined.seconds


@pytest.mark.parametrize(
    ("permille", "expected"), [(500, 500), (900, 900), (990, 990), (999, 999), (1, 1)]
)
def test_percentile_is_a_sample(permille, expected):
    """Percentiles of 1 to 1000 are samples themselves: nothing is interpolated."""
    assert expected == percentile(range(1, 1001), permille)


@pytest.mark.parametrize(("permille", "least"), [(500, 2), (900, 10), (990, 100), (999, 1000)])
def test_percentile_needs_enough_samples(permille, least):
    """With one sample too few there is no percentile."""
    assert percentile([1.0] * (least - 1), permille) is None
    assert 1.0 == percentile([1.0] * least, permille)


def test_latencies_are_milliseconds_in_any_order():
    """Samples need no order; p99.9 of 10 samples is unknown."""
    seconds = [one / 1000 for one in (5, 3, 1, 9, 7, 2, 4, 6, 8, 10)]

    assert Latency(10, 5.0, 9.0, None, None, 10.0) == latency_of(seconds)


def test_no_samples_no_latency():
    """Nothing is divided by zero."""
    assert Latency(0) == latency_of([])
    assert Latency(0) == join([Latency(0), Latency(0)])


def test_repeats_combine_to_medians():
    """Samples are added; a percentile is the median of the known ones."""
    parts = [
        Latency(9, 1.0, None, max=5.0),
        Latency(10, 3.0, 4.0, max=6.0),
        Latency(9, 2.0, max=9.0),
    ]

    assert Latency(28, 2.0, 4.0, None, None, 6.0) == join(parts)
