"""The refusals that only HTTP knows; the rest of the tree is in app/errors.py.

RequestError
├── UnauthorizedError           401 unauthorized
├── SlowHeadersError            408 slow-headers
├── RateLimitedError            429 rate-limited
└── HeadersTooLargeError        431 headers-too-large
"""

from app.errors import RequestError


class UnauthorizedError(RequestError):
    """No API key, or one that is not known here."""

    status = 401
    slug = "unauthorized"
    title = "This needs an API key"


class SlowHeadersError(RequestError):
    """A request whose headers did not come in time."""

    status = 408
    slug = "slow-headers"
    title = "The request took too long"


class RateLimitedError(RequestError):
    """More requests than one client may send.

    Attributes:
        retry_after: Seconds after which one more is answered.
    """

    status = 429
    slug = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class HeadersTooLargeError(RequestError):
    """Headers above the limit."""

    status = 431
    slug = "headers-too-large"
    title = "The headers are too large"

    def __init__(self, most: int, unit: str = "bytes") -> None:
        super().__init__(f"The request's head has more than {most} {unit}.", limit={unit: most})
