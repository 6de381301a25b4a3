"""Each way in which servers name a time to come back is understood."""

import time
from email.utils import formatdate

import httpx
import pytest

from app.outgoing.retry_after import retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"RateLimit": '"resolvers";r=0;t=9'}, 9),
        ({"ratelimit": '"resolvers"; r=0; t=9'}, 9),
        ({"RateLimit": '"api";r=5;t=200, "resolvers";r=0;t=9'}, 9),
        ({"RateLimit": '"api";r=0;t=200, "resolvers";r=0;t=9'}, 200),
        ({"RateLimit": '"resolvers";t=9'}, 9),
        ({"RateLimit": '"resolvers";r=0'}, None),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"RateLimit": '"resolvers";r=0;t=9', "Retry-After": "3"}, 3),
        ({"RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}, None),
        ({"RateLimit-Reset": "7"}, 7),
        ({"X-RateLimit-Reset": "8"}, 8),
        ({"X-RateLimit-Reset": "yes"}, None),
    ],
)
def test_seconds(headers, seconds):
    """Retry-After counts first; what cannot be read counts as nothing."""
    assert seconds == retry_after(httpx.Headers(headers))


def test_date_by_the_clock_of_the_server():
    """A clock that is wrong here or there is no matter if the server tells its time."""
    headers = {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT",
    }

    assert 9 == retry_after(httpx.Headers(headers))


@pytest.mark.parametrize("ahead", [60, -60])
def test_date_by_the_clock_of_this_machine(ahead):
    """Without the server's time; a date that is over asks for nothing."""
    headers = {"Retry-After": formatdate(time.time() + ahead, usegmt=True)}

    assert max(0, ahead) == pytest.approx(retry_after(httpx.Headers(headers)), abs=2)


def test_point_in_time():
    """GitHub sends the seconds since 1970."""
    headers = {"X-RateLimit-Reset": str(int(time.time()) + 60)}

    assert retry_after(httpx.Headers(headers)) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "9" * 400}, None),
        (
            {
                "Retry-After": "Fri, 27 Nov 2026 10:00:30 GMT",
                "Date": "Fri, 27 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Fri, 27 Nov 2026 09:00:00 GMT",
                "Date": "Fri, 27 Nov 2026 10:00:00 GMT",
            },
            0.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    """Both forms of RFC 9110; anything else counts as not said."""
    assert seconds == retry_after(headers)
