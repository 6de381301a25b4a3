"""Whether a photo is sent again after an error, and when."""

from dataclasses import dataclass
from typing import Final

from app.client.errors import ClientError, NoAnswerError, TimedOutError, UnreachableError

RATE_LIMITED: Final = 429
REFUSALS: Final = frozenset({RATE_LIMITED, 502, 503})
"""Statuses of a server that asks for time; 502 comes from a proxy whose server restarts."""
_DIED: Final = 500
"""Status of a proxy, Ray's for one, whose server ended while it answered; a vgg-serve names the type of its problem."""
_FIRST: Final = 0.1
_LONGEST: Final = 10.0
"""Seconds before the second try, if the server wants no longer wait; doubled for each try, up to the longest."""
_UNSAID: Final = 1.0
"""Seconds, at least, if the server does not say how long."""
_SPREAD: Final = 0.25
"""Most that chance adds to a wait, so that clients which were refused together do not come together."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one photo is tried.

    Attributes:
        retries: Tries after the first.
        seconds: From the begin to the last try.
        waits: Whether a server that is busy, or away after it has answered, is waited for as long
            as `seconds` lasts, whatever the number of tries.
    """

    retries: int
    seconds: float
    waits: bool = False

    def lasts(self, error: ClientError, counted: int, passed: float) -> bool:
        """Return whether a photo is sent once more.

        Args:
            error: Of the last try.
            counted: Tries with an error that counts.
            passed: Seconds from the begin to the next try.
        """
        return is_passing(error) and counted <= self.retries and passed <= self.seconds


def is_refusal(error: ClientError) -> bool:
    """Return whether a server that works asks for time."""
    return error.status in REFUSALS


def is_passing(error: ClientError) -> bool:
    """Return whether the same request may be answered a moment later."""
    lost = isinstance(error, NoAnswerError) and not isinstance(error, TimedOutError)
    died = error.status == _DIED and not error.type
    return is_refusal(error) or lost or died or isinstance(error, UnreachableError)


def counts(error: ClientError, *, met: bool) -> bool:
    """Return whether a photo itself may be the reason of an error, or the URL of it."""
    return not is_refusal(error) and not (met and isinstance(error, UnreachableError))


def pause(error: ClientError, tries: int, chance: float = 0.0) -> float:
    """Return the seconds until the next try: as the server wants, and longer with each try.

    Args:
        error: Of the last try.
        tries: Before that one.
        chance: 0 to 1, drawn by the caller.
    """
    least = min(_LONGEST, _FIRST * 2.0 ** min(tries, 10))
    wanted = _UNSAID if error.retry_after is None else error.retry_after
    return max(least, wanted) * (1 + _SPREAD * chance)
