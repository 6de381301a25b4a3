"""When a photo is sent again."""

import pytest

from app.client.errors import (
    NoAnswerError,
    ProblemError,
    StrangerError,
    TimedOutError,
    UnreachableError,
)
from app.client.retries import Patience, counts, is_passing, pause


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ProblemError("", status=429), True),
        (ProblemError("", status=502), True),
        (ProblemError("", status=503), True),
        (UnreachableError(""), True),
        (NoAnswerError(""), True),
        (TimedOutError(""), False),
        (ProblemError("", status=500), True),
        (ProblemError("", status=500, type="internal"), False),
        (ProblemError("", status=504), False),
        (ProblemError("", status=422), False),
        (ProblemError("", status=401), False),
        (StrangerError(""), False),
    ],
)
def test_only_what_passes_is_tried_again(error, again):
    """A server that is busy or away, a connection that broke, a proxy whose server ended."""
    assert again == is_passing(error)
    assert again == Patience(1, 10).lasts(error, 1, 0)


def test_tries_and_seconds_are_bounded():
    """Whichever is over first."""
    busy = ProblemError("", status=503)
    answers = [Patience(2, 10).lasts(busy, tries, at) for tries, at in ((2, 10), (3, 0), (1, 10.1))]

    assert [True, False, False] == answers
    assert not Patience(0, 10).lasts(busy, 1, 0)


def test_a_photo_is_blamed_for_what_it_may_cause():
    """Not for a server that is busy, nor for one that is away after it has answered."""
    errors = (ProblemError("", status=503), UnreachableError(""), NoAnswerError(""))

    assert [False, False, True] == [counts(error, met=True) for error in errors]
    assert [False, True, True] == [counts(error, met=False) for error in errors]


def test_the_server_says_when():
    """Its Retry-After is the least; without it waits are a second, and grow. Chance adds a quarter at most."""
    said = ProblemError("", status=503, retry_after=7)

    assert (7, 7 * 1.25) == (pause(said, 0), pause(said, 0, 1.0))
    assert [1, 1, 3.2, 10] == [pause(UnreachableError(""), tries) for tries in (0, 3, 5, 20)]
    assert 10 == pause(ProblemError("", retry_after=0.5), 10**6)
