"""Work is done some times to warm up and once per round, and the least round counts."""

from app.runtime.stopwatch import least_seconds


def test_work_is_done_once_more_than_it_is_timed():
    """The first round pays for caches and threads, and does not count."""
    done: list[int] = []

    seconds = least_seconds(lambda: done.append(1), rounds=3)

    assert 4 == len(done)
    assert 0 <= seconds < 60


def test_the_least_round_after_warming_up():
    """The fastest rounds are not timed if they are part of the warm-up; of the others the least is."""
    lengths = iter([1.0, 2.0, 5.0, 3.0, 4.0])
    now = [100.0]

    def work():
        now[0] += next(lengths)

    assert 3.0 == least_seconds(work, rounds=3, warm_up=2, clock=lambda: now[0])
