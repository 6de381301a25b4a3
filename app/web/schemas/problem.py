"""The answer to a request that failed."""

from pydantic import Field

from app.web.schemas.base import Out


class ProblemOut(Out):
    """An error (RFC 9457, application/problem+json)."""

    type: str = Field(examples=["/problems/overloaded"])
    """Stable name of the problem."""
    title: str
    status: int
    detail: str
    """What happened this time and what to do."""
    error: str
    """The same, where the clients of other servers look for it."""
    request_id: str | None
    retryable: bool
    """Whether the same request may succeed later."""
    limit: dict[str, float] | None = None
    """The limits that the request exceeded, by name."""
