"""Work is done once to warm up and once a round, and time is a number of seconds."""

from app.runtime.stopwatch import least_seconds


def test_work_is_done_once_more_than_it_is_timed():
    """The first time pays for caches and threads, and does not count."""
    done: list[int] = []

    seconds = least_seconds(lambda: done.append(1), rounds=3)

    assert 4 == len(done)
    assert 0 <= seconds < 60
