import pytest

from app.bench.latency import Latency, combine_latencies, latency_of, percentile


@pytest.mark.parametrize(
    ("permille", "expected"), [(500, 500), (900, 900), (990, 990), (999, 999), (1, 1)]
)
def test_percentile_is_a_sample(permille, expected):
    """Of 1 to 1000, so many per thousand are not above the percentile: no interpolation."""
    assert expected == percentile(range(1, 1001), permille)


@pytest.mark.parametrize(("permille", "least"), [(500, 2), (900, 10), (990, 100), (999, 1000)])
def test_percentile_takes_enough_samples(permille, least):
    """One sample too few, and there is no percentile."""
    assert percentile([1.0] * (least - 1), permille) is None
    assert 1.0 == percentile([1.0] * least, permille)


def test_latencies_are_milliseconds_in_any_order():
    """Seconds come in any order; p99.9 of 10 samples is not known."""
    seconds = [one / 1000 for one in (5, 3, 1, 9, 7, 2, 4, 6, 8, 10)]

    assert Latency(10, 5.0, 9.0, None, None, 10.0) == latency_of(seconds)


def test_no_samples_no_latency():
    """Nothing is divided by zero."""
    assert Latency(0) == latency_of([])
    assert Latency(0) == combine_latencies([Latency(0), Latency(0)])


def test_repeats_combine_to_medians():
    """Samples are added, percentiles are the median of those that are known."""
    parts = [Latency(9, 1.0, None, max=5.0), Latency(10, 3.0, 4.0, max=6.0), Latency(9, 2.0, max=9)]

    assert Latency(28, 2.0, 4.0, None, None, 6.0) == combine_latencies(parts)
