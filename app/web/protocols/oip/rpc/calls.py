"""The methods of gRPC's Open Inference Protocol.

Each is registered as one that takes a stream, though clients send one message: only so is a message
not read before its call is admitted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import grpc
from fastapi import FastAPI
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from grpc.aio import EOF, BaseError, ServicerContext

from app.errors import UploadsFullError
from app.web.keys import Keys, presented
from app.web.problems import CLIENT_LEFT
from app.web.protocols.oip.answer import VERSION
from app.web.protocols.oip.describe import SERVER
from app.web.protocols.oip.request import HEAD_LENGTH
from app.web.protocols.oip.rpc.gateway import Answer, Caller, Gateway, Read, problem_of
from app.web.protocols.oip.rpc.schema import HEALTH_SERVICE, SERVICE, messages
from app.web.protocols.oip.rpc.translate import write_message

_OK: Final = 200
_UNAVAILABLE: Final = 503
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CLIENT_LEFT: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By HTTP's status. A client retries UNAVAILABLE, as it does 503."""
_MOST_BYTES: Final = 4096
"""Of a message that holds no photo."""
_PATIENCE: Final = 5.0
"""Seconds for such a message to arrive."""

Handler = Callable[[Any, ServicerContext], Awaitable[bytes]]


class Calls:
    """The methods, each a question to the app."""

    def __init__(self, app: FastAPI, most_reading: int, idle_seconds: float) -> None:
        """Serve an app.

        Args:
            app: The app.
            most_reading: Messages with photos that are read at a time, and streams that are open.
            idle_seconds: After which a stream ends in which no message came.
        """
        self._gateway = Gateway(app, most_reading)
        self._streams = asyncio.Semaphore(most_reading)
        self._idle_seconds = idle_seconds
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Refuse photos from now on, so that clients turn to another server."""
        self._closing.set()

    def handlers(self) -> list[Any]:
        """Return what a server is given, one entry for each service."""
        called: dict[str, Handler] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "ModelInfer": self._model_infer,
        }
        methods = {name: grpc.stream_unary_rpc_method_handler(one) for name, one in called.items()}
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._model_stream_infer
        )
        health = {"Check": grpc.stream_unary_rpc_method_handler(self._check)}
        return [
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler(HEALTH_SERVICE, health),
        ]

    async def _model_infer(self, _: object, context: ServicerContext) -> bytes:
        await self._refuse_if_closing(context)
        answer = await self._gateway.infer(_caller(context), _reader(context))
        if answer.status != _OK:
            await _refuse(context, answer)
        return _serialized(write_message(answer.headers[HEAD_LENGTH.lower()], answer.body))

    async def _model_stream_infer(self, _: object, context: ServicerContext) -> None:
        """Answer the requests of a stream, one after the other; one that fails does not end it."""
        keys: Keys | None = self._gateway.app.state.keys
        headers = [(n.encode(), str(v).encode()) for n, v in context.invocation_metadata() or ()]
        if keys is not None and keys.holder(presented({"headers": headers})) is None:
            await _refuse(context, await self._gateway.infer(_caller(context), _given(b"")))
        if self._streams.locked():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "Too many streams are open. Retry in a moment."
            )
        read = _reader(context)
        async with self._streams:
            while (data := await self._next(context, read)) is not None:
                await self._refuse_if_closing(context)
                answer = await self._gateway.infer(_caller(context), _given(data))
                response = messages()["ModelStreamInferResponse"]()
                if answer.status == _OK:
                    length = answer.headers[HEAD_LENGTH.lower()]
                    response.infer_response.CopyFrom(write_message(length, answer.body))
                else:
                    response.error_message = answer.json["error"] if answer.body else "cancelled"
                await context.write(_serialized(response))

    async def _next(self, context: ServicerContext, read: Read) -> bytes | None:
        """Return the next message of a stream; end one that sends none, or that holds up the end."""
        reading = asyncio.ensure_future(read())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                {reading, closing},
                timeout=self._idle_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()
            closing.cancel()
        await self._refuse_if_closing(context)
        await context.abort(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"No message came in this stream for {self._idle_seconds:g} s.",
        )
        return None

    async def _refuse_if_closing(self, context: ServicerContext) -> None:
        if self._closing.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")

    async def _server_live(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._gateway.get("/v2/health/live", _caller(context))
        return _serialized(messages()["ServerLiveResponse"](live=answer.status == _OK))

    async def _server_ready(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._gateway.get("/v2/health/ready", _caller(context))
        return _serialized(messages()["ServerReadyResponse"](ready=answer.status == _OK))

    async def _server_metadata(self, _: object, __: ServicerContext) -> bytes:
        return _serialized(ParseDict(SERVER, messages()["ServerMetadataResponse"]()))

    async def _model_ready(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._about_model(context, "ModelReadyRequest", "/ready")
        if answer.status not in {_OK, _UNAVAILABLE}:
            await _refuse(context, answer)
        return _serialized(messages()["ModelReadyResponse"](ready=answer.status == _OK))

    async def _model_metadata(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._about_model(context, "ModelMetadataRequest", "")
        return await _say(context, answer, "ModelMetadataResponse")

    async def _model_config(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._about_model(context, "ModelConfigRequest", "/config")
        return await _say(context, answer, "ModelConfigResponse", "config")

    async def _model_statistics(self, _: object, context: ServicerContext) -> bytes:
        answer = await self._about_model(context, "ModelStatisticsRequest", "/stats")
        return await _say(context, answer, "ModelStatisticsResponse")

    async def _repository_index(self, _: object, context: ServicerContext) -> bytes:
        asked = await self._read_short(context, "RepositoryIndexRequest")
        answer = await self._gateway.index(_caller(context), ready=asked.ready)
        return await _say(context, answer, "RepositoryIndexResponse", "models")

    async def _check(self, _: object, context: ServicerContext) -> bytes:
        """Answer the health check that Kubernetes and others know."""
        service = ""
        if self._gateway.may_read:  # else it is asked about the server, as a probe cannot wait
            service = (await self._read_short(context, "HealthCheckRequest")).service
        if service not in {"", SERVICE}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "This server has no such service.")
        answer = await self._gateway.get("/v2/health/ready", _caller(context))
        said = {"status": "SERVING" if answer.status == _OK else "NOT_SERVING"}
        return _serialized(ParseDict(said, messages()["HealthCheckResponse"]()))

    async def _about_model(self, context: ServicerContext, kind: str, end: str) -> Answer:
        asked = await self._read_short(context, kind)
        path = f"{quote(asked.name, safe='')}/versions/{quote(asked.version or VERSION, safe='')}"
        if end == "/stats" and not asked.name:  # of all models
            path = ""
        return await self._gateway.get(f"/v2/models/{path}".rstrip("/") + end, _caller(context))

    async def _read_short(self, context: ServicerContext, kind: str) -> Any:  # noqa: ANN401 (of that kind)
        try:
            data = await self._gateway.read(_reader(context), _PATIENCE)
        except UploadsFullError as exc:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(exc))
        if data is not None and len(data) <= _MOST_BYTES:
            with suppress(DecodeError):
                return messages()[kind].FromString(data)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The message is not a {kind}.")
        return None


def _caller(context: ServicerContext) -> Caller:
    metadata = tuple(context.invocation_metadata() or ())
    return Caller(context.peer(), metadata, context.time_remaining())


def _reader(context: ServicerContext) -> Read:
    async def read() -> bytes | None:
        try:
            data = await context.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None  # gRPC's way to say that the client has left
        except BaseError:
            return None  # the call is over, or gRPC has stopped
        return None if data is EOF else bytes(data)

    return read


def _given(data: bytes) -> Read:
    async def read() -> bytes | None:
        return data

    return read


async def _say(context: ServicerContext, answer: Answer, kind: str, member: str = "") -> bytes:
    """Return an answer of the app as a message, whose fields have the same names."""
    if answer.status != _OK:
        await _refuse(context, answer)
    said = {member: answer.json} if member else answer.json
    return _serialized(ParseDict(said, messages()[kind](), ignore_unknown_fields=True))


async def _refuse(context: ServicerContext, answer: Answer) -> None:
    """End a call with a problem of the app.

    Raises:
        grpc.aio.AbortError: Always.
    """
    sentence = answer.json["error"] if answer.body else "The call was cancelled."
    code = CODES.get(answer.status, grpc.StatusCode.UNKNOWN)
    await context.abort(code, sentence, tuple(problem_of(answer).items()))


def _serialized(message: Any) -> bytes:  # noqa: ANN401 (of any class)
    data: bytes = message.SerializeToString()
    return data
