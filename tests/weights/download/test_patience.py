"""Only getting further earns more time."""

import asyncio
import time

import pytest

from app.weights.download.patience import FURTHER, Patience


@pytest.fixture
def patience():
    """Be short while there is nothing, and long once there is something."""
    return Patience(timeout=0.05, patience=60, backoff=0.02)


def wait(patience, gained, asked=0.0):
    """Wait in an event loop of its own."""
    return asyncio.run(patience.wait(gained, asked))


def tries(patience, gained, asked=0.0):
    """Count the tries that follow, ten at most, if each time so many bytes are there."""
    return next((count for count in range(10) if not wait(patience, gained, asked)), 10)


def test_nothing_is_given_up_after_the_timeout(patience):
    """Pauses double: 20 ms, and no 40 ms after that."""
    assert tries(patience, gained=0) == 1
    assert patience.left() <= 0.05


def test_a_few_bytes_are_nothing(patience):
    """What a drip brings in a timeout does not earn patience."""
    assert tries(patience, gained=FURTHER - 1) == 1


def test_getting_further_earns_patience(patience):
    """Pauses start anew, too."""
    assert tries(patience, gained=0) == 1
    began = time.monotonic()

    assert wait(patience, FURTHER, 0)
    assert time.monotonic() - began < 0.04
    assert wait(patience, FURTHER, 0)
    assert 0.04 <= patience.left() <= 0.05


def test_getting_as_far_again_earns_nothing():
    """A server that always fails at the same byte is given up."""
    assert tries(Patience(timeout=0.05, patience=0.1, backoff=0.02), gained=FURTHER) == 2


def test_server_may_name_a_time_to_come_back(patience):
    """It gets more than the timeout, and no more than the patience."""
    began = time.monotonic()

    assert wait(patience, 0, 0.1)
    assert time.monotonic() - began >= 0.1
    assert not wait(patience, 0, 3600)
    assert time.monotonic() - began < 1
