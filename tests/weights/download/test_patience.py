"""Only progress earns more time."""

import pytest

from app.weights.download.patience import FURTHER, Patience


class Clock:
    """Stands still until it is turned."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Make a clock."""
    return Clock()


@pytest.fixture
def patience(clock):
    """Be short while there is nothing, and long once there is something."""
    return Patience(timeout=5, patience=300, backoff=1, clock=clock)


def pauses(patience, clock, gained, asked=0.0):
    """List the pauses before the tries that follow, each of them waited for, ten at most."""
    found: list[float] = []
    while len(found) < 10 and (pause := patience.pause(gained, asked)) is not None:
        clock.now += pause
        found.append(pause)
    return found


def test_nothing_is_given_up_after_the_timeout(patience, clock):
    """Pauses double, and one that would end after the timeout is not begun."""
    assert [1, 2] == pauses(patience, clock, gained=0)
    assert 2 == patience.left()


def test_a_few_bytes_are_nothing(patience, clock):
    """What a drip brings in a timeout does not earn patience."""
    assert [1, 2] == pauses(patience, clock, gained=FURTHER - 1)


def test_progress_earns_patience(patience, clock):
    """Pauses start again, too."""
    assert [1, 2] == pauses(patience, clock, gained=0)

    assert 1 == patience.pause(FURTHER, 0)
    assert 5 == patience.left()


def test_pauses_have_an_upper_limit(clock):
    """The longest is 64 times the first."""
    patience = Patience(timeout=5, patience=3000, backoff=1, clock=clock)

    assert [1, 2, 4, 8, 16, 32, 64, 64, 64, 64] == pauses(patience, clock, gained=FURTHER)


def test_getting_as_far_again_earns_nothing(clock):
    """A server that always fails at the same byte is given up."""
    patience = Patience(timeout=5, patience=10, backoff=1, clock=clock)

    assert [1, 2, 4] == pauses(patience, clock, gained=FURTHER)


def test_server_may_name_a_time_to_come_back(patience, clock):
    """It gets more than the timeout, and no more than the patience."""
    assert 20 == patience.pause(0, 20)
    clock.now += 20
    assert 5 == patience.left()
    assert patience.pause(0, 3600) is None
