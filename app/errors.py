"""Everything this service can refuse or fail at.

VggServeError
├── RequestError                the client can mend it
│   ├── BadRequestError         400 bad-request
│   ├── UnauthorizedError       401 unauthorized
│   ├── UnknownModelError       404 unknown-model
│   ├── SlowHeadersError        408 slow-headers
│   ├── SlowUploadError         408 slow-upload
│   ├── BodyTooLargeError       413 body-too-large
│   ├── UnsupportedFormatError  415 unsupported-format
│   ├── InvalidImageError       422 invalid-image
│   │   ├── CorruptImageError   422 image-corrupt
│   │   ├── ImageTooLargeError  422 image-too-large
│   │   └── ImageTooSmallError  422 image-too-small
│   ├── RateLimitedError        429 rate-limited
│   └── HeadersTooLargeError    431 headers-too-large
├── ServiceError                the client can only try again
│   ├── RunFailedError          500 run-failed
│   │   ├── OutOfMemoryError    500 out-of-memory
│   │   └── DeviceLostError     500 run-failed; nothing runs any more, the process ends
│   ├── OverloadedError         503 overloaded
│   ├── UploadsFullError        503 uploads-full
│   ├── NotReadyError           503 not-ready
│   ├── ModelFailedError        503 model-failed
│   ├── DrainingError           503 draining
│   └── DeadlineExceededError   504 deadline-exceeded
└── SetupError                  the operator can mend it; stops a start or a command
    ├── KeysError               the file of API keys is not what was expected
    ├── ManifestError           a manifest says something that cannot be
    ├── LabelsError             a label file is not what was expected
    ├── CheckpointError         a checkpoint is not the network its manifest names
    │   └── PrecisionError      it cannot be had in float16
    ├── DownloadError           a file could not be fetched or is not the one that was asked for
    └── SessionError            the device or the graph cannot be used

`str(error)` is a sentence for the one who can mend it; it never holds a path, a
file name or bytes that came with a request. Causes are chained with `from`.
"""

from pathlib import Path
from typing import ClassVar


class VggServeError(Exception):
    """Anything that this service raises on purpose."""


class RequestError(VggServeError):
    """A request that cannot be answered as it is.

    Attributes:
        status: The HTTP status of the answer.
        slug: Stable name of the problem, the last part of its `type` URI.
        title: The same for each problem of this type (RFC 9457).
        limit: The numbers that were passed, by name, for machines to read.
    """

    status: ClassVar[int] = 400
    slug: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(self, detail: str, *, limit: dict[str, float] | None = None) -> None:
        super().__init__(detail)
        self.limit = limit


class BadRequestError(RequestError):
    """A broken multipart body, a missing or a second file, an impossible parameter."""


class UnknownModelError(RequestError):
    """A model that this process does not serve."""

    status = 404
    slug = "unknown-model"
    title = "There is no such model here"


class SlowUploadError(RequestError):
    """A body that did not arrive within the deadline."""

    status = 408
    slug = "slow-upload"
    title = "The upload took too long"


class BodyTooLargeError(RequestError):
    """A body above the limit, declared or counted."""

    status = 413
    slug = "body-too-large"
    title = "The upload is too large"


class UnsupportedFormatError(RequestError):
    """Bytes that are not one of the formats that are decoded here."""

    status = 415
    slug = "unsupported-format"
    title = "This is not an image format that is read here"


class InvalidImageError(RequestError):
    """An image of a known format that cannot be classified."""

    status = 422
    slug = "invalid-image"
    title = "The image cannot be used"


class CorruptImageError(InvalidImageError):
    """An image whose data are damaged or cut short."""

    slug = "image-corrupt"
    title = "The image is damaged"


class ImageTooLargeError(InvalidImageError):
    """An image with too many pixels, by its header."""

    slug = "image-too-large"
    title = "The image has too many pixels"


class ImageTooSmallError(InvalidImageError):
    """An image with too few pixels, by its header."""

    slug = "image-too-small"
    title = "The image has too few pixels"


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


class ServiceError(VggServeError):
    """A request that was in order and was not answered all the same.

    Attributes:
        status: The HTTP status of the answer.
        slug: Stable name of the problem, the last part of its `type` URI.
        title: The same for each problem of this type (RFC 9457).
        usual_wait: Seconds after which what is a 503 may have passed.
        retry_after: The same for this one, None if it cannot be told.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "The server failed"
    usual_wait: ClassVar[float] = 1

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        usual = self.usual_wait if self.status == 503 else None  # noqa: PLR2004 (HTTP's own)
        self.retry_after = usual if retry_after is None else retry_after


class RunFailedError(ServiceError):
    """A run of the session that raised or gave no usable result."""

    slug = "run-failed"
    title = "The model failed on this request"


class OutOfMemoryError(RunFailedError):
    """A batch that did not fit into the device's memory."""

    slug = "out-of-memory"
    title = "The device has too little memory"


class DeviceLostError(RunFailedError):
    """A device on which nothing runs any more, until the process is started anew."""


class OverloadedError(ServiceError):
    """More work waits than can be done in time."""

    status = 503
    slug = "overloaded"
    title = "The server is busy"


class UploadsFullError(ServiceError):
    """More bytes of uploads are in memory than may be."""

    status = 503
    slug = "uploads-full"
    title = "Too many uploads at a time"


class NotReadyError(ServiceError):
    """A model that is still loading."""

    status = 503
    slug = "not-ready"
    title = "The model is still loading"
    usual_wait = 5


class ModelFailedError(ServiceError):
    """A model that could not be loaded or has stopped."""

    status = 503
    slug = "model-failed"
    title = "The model is not available"
    usual_wait = 10  # for a probe to notice it, and a restart


class DrainingError(ServiceError):
    """A server that is about to stop."""

    status = 503
    slug = "draining"
    title = "The server is shutting down"


class DeadlineExceededError(ServiceError):
    """A request whose time was over before it was run."""

    status = 504
    slug = "deadline-exceeded"
    title = "The request was not answered in time"


class SetupError(VggServeError):
    """Something that an operator has to mend: a file, a setting, a device."""


class KeysError(SetupError):
    """A file of API keys that is not what was expected."""


class ManifestError(SetupError):
    """A manifest that says something that cannot be.

    Attributes:
        path: The manifest.
        key: The key that is wrong, dotted; empty for the file as a whole.
        problem: What stands there and what was expected.
    """

    def __init__(self, path: Path, key: str, problem: str) -> None:
        super().__init__(f"{path}: {key + ': ' if key else ''}{problem}")
        self.path = path
        self.key = key
        self.problem = problem


class LabelsError(SetupError):
    """A label file that is not what was expected."""


class CheckpointError(SetupError):
    """A checkpoint that is not the network that its manifest names."""


class PrecisionError(CheckpointError):
    """A network that float16 might not be able to hold."""


class DownloadError(SetupError):
    """A file that could not be fetched, or is not the one that was asked for."""


class SessionError(SetupError):
    """A device that is not there, or a graph that cannot be run on it."""
