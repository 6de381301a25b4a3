"""The errors that a request can end with, and the base of all that this service raises on purpose.

VggServeError
├── RequestError                the client can fix it
│   ├── BadRequestError         400 bad-request
│   ├── UnauthorizedError       401 unauthorized
│   ├── UnknownModelError       404 unknown-model
│   ├── SlowHeadersError        408 slow-headers
│   ├── SlowUploadError         408 slow-upload
│   ├── BodyTooLargeError       413 body-too-large
│   ├── UnsupportedFormatError  415 unsupported-format
│   ├── UnknownParameterError   422 unknown-parameter
│   ├── InvalidImageError       422 invalid-image
│   │   ├── CorruptImageError   422 image-corrupt
│   │   ├── ImageTooLargeError  422 image-too-large
│   │   └── ImageTooSmallError  422 image-too-small
│   ├── RateLimitedError        429 rate-limited
│   └── HeadersTooLargeError    431 headers-too-large
├── ServiceError                the client can only retry
│   ├── RunFailedError          500 run-failed
│   │   ├── OutOfMemoryError    500 out-of-memory
│   │   └── DeviceLostError     500 run-failed; nothing runs on the device any more, the process exits
│   ├── OverloadedError         503 overloaded
│   ├── UploadsFullError        503 uploads-full
│   ├── NotReadyError           503 not-ready
│   ├── ModelFailedError        503 model-failed
│   ├── DrainingError           503 draining
│   └── DeadlineExceededError   504 deadline-exceeded
└── SetupError                  the operator can fix it; app/setup_errors.py

A class says by itself how it is answered (`status`, `slug`, `title`), counted and carried between
processes, so a new class needs no other edit. `str(error)` is a sentence for the person who can fix
the problem. It never contains a path, a file name or bytes from a request, except the plain name of
a parameter or of a part of a form, of at most 32 characters. Causes are chained with `from`.
"""

from collections.abc import Iterator
from typing import ClassVar, TypeVar


class VggServeError(Exception):
    """Base of all errors that this service raises on purpose.

    Attributes:
        counted: Whether vgg_rejected_total counts it (its slug is the label `reason`).
        closes_connections: Whether it may end a connection before a request was read; then
            vgg_refused_connections_total counts it.
        crosses_processes: Whether another process of the service can make it again from its
            sentence and its numbers.
        example: A sentence that a client may get, for the description of the API.
    """

    counted: ClassVar[bool] = False
    closes_connections: ClassVar[bool] = False
    crosses_processes: ClassVar[bool] = True
    example: ClassVar[str] = ""


E = TypeVar("E", bound=VggServeError)


def answered() -> Iterator[type["RequestError | ServiceError"]]:
    """Yield every class of error that a client can get as an answer."""
    yield from kinds(RequestError)
    yield from kinds(ServiceError)


def kinds(base: type[E]) -> Iterator[type[E]]:
    """Yield `base` and every class below it, in the order of their definition, parents first."""
    yield base
    for child in base.__subclasses__():
        yield from kinds(child)


class RequestError(VggServeError):
    """A request that the client has to change.

    Attributes:
        status: The HTTP status of the answer.
        slug: Stable name of the problem, the last part of its `type` URI.
        title: The same for every problem of this type (RFC 9457).
        limit: The numbers that were exceeded and their limits, by name.
    """

    status: ClassVar[int] = 400
    slug: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(self, detail: str, *, limit: dict[str, float] | None = None) -> None:
        super().__init__(detail)
        self.limit = limit


class BadRequestError(RequestError):
    """A broken multipart body, a missing or a second file, an invalid parameter."""

    example = "top_k: Input should be greater than or equal to 1"
    closes_connections = True


class UnknownModelError(RequestError):
    """A model that this server does not serve."""

    status = 404
    slug = "unknown-model"
    title = "Unknown model"
    example = "This server has no model of that name; it has vgg16."


class UnknownParameterError(RequestError):
    """A parameter or a value that there is not; ignoring it would answer another question."""

    status = 422
    slug = "unknown-parameter"
    title = "Unknown parameter or value"
    example = "The query has an unknown parameter 'topk'. Did you mean 'top_k'?"


class SlowUploadError(RequestError):
    """A body that stood still, or that came more slowly than is allowed."""

    status = 408
    slug = "slow-upload"
    title = "The upload took too long"
    example = (
        "The upload was too slow: it may stand still for 10 s and must come with 4000 bytes per"
        " second or more. Send it again, or a smaller photo."
    )


class BodyTooLargeError(RequestError):
    """A body above the size limit, by its Content-Length or as received."""

    status = 413
    slug = "body-too-large"
    title = "The upload is too large"
    example = "The body has 31 MB or more; the limit is 25 MB."


class UnsupportedFormatError(RequestError):
    """Bytes that are not in a supported image format."""

    status = 415
    slug = "unsupported-format"
    title = "Unsupported image format"
    example = "HEIC is not supported. Send JPEG, PNG, WebP, GIF or BMP."


class InvalidImageError(RequestError):
    """An image in a supported format that cannot be classified."""

    status = 422
    slug = "invalid-image"
    title = "The image cannot be used"


class CorruptImageError(InvalidImageError):
    """An image whose data are damaged or incomplete."""

    slug = "image-corrupt"
    title = "The image is damaged"


class ImageTooLargeError(InvalidImageError):
    """An image with too many pixels, by its header."""

    slug = "image-too-large"
    title = "The image has too many pixels"
    example = "The image is 12000 x 9000 (108.0 MP); the limit is 40 MP."


class ImageTooSmallError(InvalidImageError):
    """An image with too few pixels, by its header."""

    slug = "image-too-small"
    title = "The image has too few pixels"


class UnauthorizedError(RequestError):
    """A missing or an unknown API key."""

    status = 401
    slug = "unauthorized"
    title = "API key required"
    example = 'Missing or invalid API key. Send it as "Authorization: Bearer KEY".'


class SlowHeadersError(RequestError):
    """A request whose headers did not arrive in time."""

    status = 408
    slug = "slow-headers"
    title = "The request took too long"
    closes_connections = True


class RateLimitedError(RequestError):
    """More requests than one client may send per second.

    Attributes:
        retry_after: Seconds until the next request is accepted.
    """

    status = 429
    slug = "rate-limited"
    title = "Too many requests"
    example = "Too many requests from this client. Retry in 0.4 s."
    counted = True
    crosses_processes = False

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class HeadersTooLargeError(RequestError):
    """Headers above the size limit."""

    status = 431
    slug = "headers-too-large"
    title = "The headers are too large"
    example = "The request's head has more than 32768 bytes."
    closes_connections = True
    crosses_processes = False

    def __init__(self, most: int, unit: str = "bytes") -> None:
        super().__init__(f"The request's head has more than {most} {unit}.", limit={unit: most})


class ServiceError(VggServeError):
    """A valid request that the server could not answer.

    Attributes:
        status, slug, title: As of RequestError.
        usual_wait: Seconds to wait before a retry, where nothing better is known (503 only).
        retry_after: Seconds to wait before a retry; None if a retry is not expected to help.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "The server failed"
    usual_wait: ClassVar[float] = 1
    counted = True

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        usual = self.usual_wait if self.status == 503 else None  # noqa: PLR2004 (HTTP's own)
        self.retry_after = usual if retry_after is None else retry_after


class RunFailedError(ServiceError):
    """A run of the session that failed or returned no usable result."""

    slug = "run-failed"
    title = "The model failed on this request"
    example = "The model failed on the batch that this image was in."


class OutOfMemoryError(RunFailedError):
    """A batch that does not fit into the device's memory."""

    slug = "out-of-memory"
    title = "The device is out of memory"


class DeviceLostError(RunFailedError):
    """A device that can run nothing more until the process is restarted."""


class OverloadedError(ServiceError):
    """More queued work than can be done in time."""

    status = 503
    slug = "overloaded"
    title = "The server is busy"
    example = "The estimated wait is 3.1 s; the limit is 2 s. Retry later."
    closes_connections = True


class UploadsFullError(ServiceError):
    """More bytes of uploads in memory than allowed."""

    status = 503
    slug = "uploads-full"
    title = "Too many uploads at once"


class NotReadyError(ServiceError):
    """A model that is still loading."""

    status = 503
    slug = "not-ready"
    title = "The model is still loading"
    usual_wait = 5


class ModelFailedError(ServiceError):
    """A model that could not be loaded, or has stopped."""

    status = 503
    slug = "model-failed"
    title = "The model is not available"
    usual_wait = 10  # for a probe to notice it, and a restart


class DrainingError(ServiceError):
    """A server that is shutting down."""

    status = 503
    slug = "draining"
    title = "The server is shutting down"


class DeadlineExceededError(ServiceError):
    """A request whose deadline passed before it was answered."""

    status = 504
    slug = "deadline-exceeded"
    title = "The request was not answered in time"
    example = "The deadline passed before the image was run."
