"""What is refused before a byte of a body is read."""

from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BadRequestError,
    BodyTooLargeError,
    RequestError,
    ServiceError,
    UploadsFullError,
)
from app.serving.hosted_models import Models
from app.serving.metrics import Metrics
from app.web.middleware.envelope import PREDICT
from app.web.problems import answer_error


class Limits:
    """ASGI middleware in front of POST /predict: model, size, admission; all else passes."""

    def __init__(
        self,
        app: ASGIApp,
        models: Models,
        metrics: Metrics,
        *,
        max_body_bytes: int,
        max_upload_bytes: int,
    ) -> None:
        """Wrap an app.

        Args:
            app: What answers.
            models: Asked whether the model is ready and has time.
            metrics: Told of the bytes in memory.
            max_body_bytes: Of one request.
            max_upload_bytes: Of all requests that are in memory.
        """
        self._app = app
        self._models = models
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and count its body."""
        if scope["type"] != "http" or scope["path"] != PREDICT or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        held = 0
        try:
            self._check(scope)
        except (RequestError, ServiceError) as exc:
            await answer_error(scope, exc)(scope, receive, send)
            return

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if held + size > self._max_body_bytes:
                raise self._too_large(held + size)
            self._hold(size)  # what came, not what was declared: promises take no memory
            held += size
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._release(held)

    def _check(self, scope: Scope) -> None:
        name = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get(
            "model", [""]
        )[-1]
        model = self._models.get(name or self._models.default)
        scope["state"]["model"] = model.manifest.name
        length = next((value for key, value in scope["headers"] if key == b"content-length"), b"0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequestError("The header Content-Length is not a number.")
        if int(length) > self._max_body_bytes:
            raise self._too_large(int(length))
        self._ensure_room(int(length))
        model.ready().classifier.admit()

    def _too_large(self, size: int) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"The body has {size / 1e6:.3g} MB or more;"
            f" the limit is {self._max_body_bytes / 1e6:.3g} MB.",
            limit={"bytes": self._max_body_bytes},
        )

    def _ensure_room(self, size: int) -> None:
        if self._held + size > self._max_upload_bytes:
            raise UploadsFullError("Too many uploads are under way; try again in a moment.")

    def _hold(self, size: int) -> None:
        self._ensure_room(size)
        self._held += size
        self._metrics.uploading(size)

    def _release(self, size: int) -> None:
        self._held -= size
        self._metrics.uploading(-size)
