"""What can end a call of the client.

ClientError
├── UnreachableError        no connection was made: the server is down, or the URL is wrong
├── NoAnswerError           a connection was made, and ended without a whole answer
│   └── TimedOutError       the time was over before; a TimeoutError, too
├── ChangedError            the file changed while it was sent
├── StrangerError           an answer that no vgg-serve gives: another server, or a redirect
└── ProblemError            vgg-serve, or a proxy before it, answered with an error
"""

from collections.abc import Mapping

from app.errors import VggServeError


class ClientError(VggServeError):
    """A call without a result; `str(error)` is one sentence or two for a person.

    Attributes:
        detail: What happened this time, and what to do.
        title: The same for all errors of a type; empty if the server gave none.
        type: Name of the problem: `image-corrupt`; empty if no vgg-serve answered.
        status: Of HTTP; None if there was no answer.
        request_id: By which the server's log has this request; None if there was no answer.
        retry_after: Seconds for which the server asks to be left alone; None if it does not.
        limit: The limits that were exceeded, by name: `{"bytes": 26214400}`.
    """

    def __init__(
        self,
        detail: str,
        *,
        title: str = "",
        type: str = "",  # noqa: A002 (RFC 9457's own word)
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        limit: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.title, self.type = detail, title, type
        self.status, self.request_id, self.retry_after = status, request_id, retry_after
        self.limit = dict(limit or {})

    def __str__(self) -> str:
        """Return the sentence, after the status and the type of a problem."""
        known = " ".join(str(part) for part in (self.status, self.type) if part)
        asked = f" (request {self.request_id})" if self.request_id else ""
        return f"{known}: {self.detail}{asked}" if known else self.detail


class UnreachableError(ClientError):
    """No connection to the server was made."""


class NoAnswerError(ClientError):
    """A connection that ended without a whole answer."""


class TimedOutError(NoAnswerError, TimeoutError):
    """A call that took longer than its `timeout`."""


class ChangedError(ClientError):
    """A file that changed while it was sent."""


class StrangerError(ClientError):
    """An answer that no vgg-serve gives; its sentence is about the server."""


class ProblemError(ClientError):
    """An error that the server answered; those of one type are alike."""
