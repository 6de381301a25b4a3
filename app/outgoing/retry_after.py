"""How long a server asks to be left alone."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_RESETS: Final = ("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset")
_YEAR_2001: Final = 1e9
"""Seconds since 1970: what is more is a point in time, and no duration."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which the headers of an answer ask; None if they do not.

    They are Retry-After (seconds or a date), `RateLimit: "resolvers";r=0;t=9` (IETF draft 10 of
    the RateLimit fields, as the Hugging Face Hub sends it), `RateLimit: limit=9, remaining=0,
    reset=9` (draft 7), and RateLimit-Reset or X-RateLimit-Reset (draft 2, GitHub).

    Args:
        headers: By name, in any case.
    """
    asked = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(asked):
        return _finite(float(asked))
    until = _date(asked)
    if until is not None:
        # By the server's own clock, if it tells the time: this machine's may be wrong.
        return max(0.0, until - (_date(headers.get("Date", "")) or time.time()))
    limits = headers.get("RateLimit", "")
    used_up = [item for item in limits.split(",") if re.search(r";\s*r\s*=\s*0\s*(;|$)", item)]
    times = re.findall(r"(?:;\s*t|\breset)\s*=\s*([0-9]+)", ",".join(used_up) or limits)
    if times:
        return _finite(max(map(float, times)))
    reset = next((headers[name].strip() for name in _RESETS if name in headers), "")
    if not _SECONDS.fullmatch(reset):
        return None
    seconds = float(reset)
    return _finite(seconds if seconds < _YEAR_2001 else max(0.0, seconds - time.time()))


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _date(text: str) -> float | None:
    """Return the seconds since 1970 of a date in a header."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
