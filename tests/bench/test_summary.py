import pytest

from app.bench.latency import Latency
from app.bench.summary import combine, summarise
from tests.bench.conftest import run_of, sample


def test_latency_is_of_what_was_due_and_goodput_of_what_ended():
    """A request counts where it was due; its answer counts where it came."""
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
    """What was sent 7 ms late is 7 ms slower, and late."""
    seen = summarise(run_of(sample(101, 0.1, began=101.007), sample(102, 0.1, began=102.003)))

    assert pytest.approx(100.0) == seen.answered.max
    assert (1, 2) == (seen.late, seen.requests)
    assert pytest.approx(7.0) == seen.lag.max


def test_batch_sizes_are_in_the_order_of_numbers():
    """Sizes are counted by request; answers that do not say theirs are left out."""
    sizes = (16, 2, 16, 0)
    seen = summarise(run_of(*(sample(101, 0.1, batch_size=size) for size in sizes)))

    assert [("2", 1), ("16", 2)] == list(seen.batch_sizes.items())
    assert pytest.approx(34 / 3) == seen.mean_batch_size


def test_nothing_at_all_is_no_error():
    """A run without requests, and one without a length, have zeros and unknowns."""
    for seconds in (10.0, 0.0, -1.0):
        seen = summarise(run_of(seconds=seconds))

        assert (0.0, 0.0, Latency(0)) == (seen.goodput, seen.offered, seen.answered)
        assert seen.mean_batch_size is None
        assert seen.cpu_per_request is None


def test_repeats_are_joined():
    """Rates are medians with their range, counts are sums, the first example stays."""
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
