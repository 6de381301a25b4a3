"""Calls of gRPC in this process, of models that load, are busy, or whose client leaves."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from app.web.keys import make_key
from app.web.protocols.oip.rpc.listener import Listener, RpcLimits
from tests.conftest import client_of, png, started_app, write_colours
from tests.web.answers import problem
from tests.web.middleware.test_admission import Body, busy

pytestmark = pytest.mark.anyio

LIMITS = RpcLimits(2_000_000, 8_000_000, 8192, 100, 60.0)
INFER = "/inference.GRPCInferenceService/ModelInfer"


@asynccontextmanager
async def channel_to(app, limits=LIMITS):
    """Connect to a server around the app."""
    listener = Listener(app, limits, shared=False)
    [address] = await listener.start(["127.0.0.1"], 0)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
    finally:
        await listener.stop(0)


def photo(**parameters):
    """Write a request with a red photo."""
    message = service_pb2.ModelInferRequest(model_name="colours")
    message.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        png()
    )
    for name, value in parameters.items():
        message.parameters[name].int64_param = value
    return message


async def refused_unread(channel):
    """Return the status of a call whose message never comes, and what says when to retry."""
    call = channel.stream_unary(INFER)(timeout=30)
    code, trailing = await call.code(), dict(await call.trailing_metadata())
    return code, trailing.get("retry-after")


async def test_model_that_loads_refuses_before_the_message_is_read(model_dir, session):
    """It is not ready, its tensors are known, and photos are to come again later."""
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        model = app.state.models.get("colours")
        model.loaded, loaded = None, model.loaded
        model.state = "loading"
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        ready = await stub.ModelReady(service_pb2.ModelReadyRequest(name="colours"))
        known = await stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="colours"))
        refusal = await refused_unread(channel)
        model.loaded = loaded

    assert not ready.ready
    assert "colours" == known.name
    assert (grpc.StatusCode.UNAVAILABLE, "5") == refusal


async def test_busy_model_refuses_before_the_message_is_read(model_dir, session):
    """The estimated wait is above the limit; a client of HTTP gets the same refusal."""
    async with (
        started_app(model_dir, session) as app,
        channel_to(app) as channel,
        client_of(app) as client,
    ):
        with busy(app, seconds=100):
            refusal = await refused_unread(channel)
            http = await client.post("/v2/models/colours/infer", content=Body())

    assert (grpc.StatusCode.UNAVAILABLE, http.headers["retry-after"]) == refusal
    assert (503, "/problems/overloaded") == problem(http)


async def test_call_without_a_key_is_refused_before_its_message_is_read(
    model_dir, session, tmp_path
):
    """Nobody has the server read a photo without a key."""
    keys = tmp_path / "keys"
    keys.write_text(make_key("alice")[1])
    async with (
        started_app(model_dir, session, api_keys_file=keys) as app,
        channel_to(app) as channel,
    ):
        refusal = await refused_unread(channel)

    assert (grpc.StatusCode.UNAUTHENTICATED, None) == refusal


async def test_stream_without_a_key_is_refused_and_counted(model_dir, session, tmp_path):
    """As a call is: with an id, a line in the log, and a metric."""
    keys = tmp_path / "keys"
    keys.write_text(make_key("alice")[1])
    async with (
        started_app(model_dir, session, api_keys_file=keys) as app,
        channel_to(app) as channel,
    ):
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(timeout=30)
        code, trailing = await call.code(), dict(await call.trailing_metadata())
        metrics = (await app.state.scrape()).decode()

    assert grpc.StatusCode.UNAUTHENTICATED == code
    assert "x-request-id" in trailing
    assert 'vgg_requests_total{code="401",model="none",protocol="grpc"} 1.0' in metrics


async def test_client_that_leaves_frees_its_place(model_dir, session, client_gate):
    """Its photo is not run, and the client is counted."""
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        session.before_run = client_gate.wait
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        warm = len(session.sizes)
        queue = app.state.models.get("colours").loaded.queue
        first = stub.ModelInfer(photo())
        while len(session.sizes) == warm:  # noqa: ASYNC110 (until its run has begun)
            await asyncio.sleep(0.01)
        second = stub.ModelInfer(photo())
        while not queue.depth:  # noqa: ASYNC110 (until it waits)
            await asyncio.sleep(0.01)
        second.cancel()
        while queue.depth:  # noqa: ASYNC110 (until it has left)
            await asyncio.sleep(0.01)
        client_gate.set()
        await first
        metrics = (await app.state.scrape()).decode()

    assert [1] == session.sizes[warm:]
    assert 'vgg_requests_total{code="499",model="colours",protocol="grpc"} 1.0' in metrics


async def test_client_that_leaves_while_it_sends_is_counted(model_dir, session):
    """Its message never comes, and nothing waits for it."""
    async with started_app(model_dir, session) as app:
        listener = Listener(app, LIMITS, shared=False)
        running = listener._calls._gateway._running
        [address] = await listener.start(["127.0.0.1"], 0)
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_unary(INFER)()
            while not running:  # noqa: ASYNC110 (until it has arrived)
                await asyncio.sleep(0.01)
            call.cancel()
            while running:  # noqa: ASYNC110 (until it has ended)
                await asyncio.sleep(0.01)
        await listener.stop(0)
        metrics = (await app.state.scrape()).decode()

    assert 'vgg_cancelled_total{stage="upload"} 1.0' in metrics
    assert 'vgg_requests_total{code="499",model="colours",protocol="grpc"} 1.0' in metrics


@pytest.mark.parametrize("silent", ["ModelInfer", "ModelReady"])
async def test_silent_calls_hold_up_no_health_check(model_dir, session, caplog, silent):
    """However many promise a message and send none: a probe of Kubernetes has a second.

    When gRPC stops before their turn, none of them is an error of the server.
    """
    path = f"/inference.GRPCInferenceService/{silent}"
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        calls = [channel.stream_unary(path)() for _ in range(8)]
        for call in calls:
            await call.wait_for_connection()
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.ServerMetadata(service_pb2.ServerMetadataRequest())  # so the calls are there
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        health = await asyncio.gather(*(check(b"", timeout=0.9) for _ in range(8)))
        for call in calls:
            call.cancel()

    assert [b"\x08\x01"] * 8 == health  # SERVING
    assert [] == [one for one in caplog.records if one.levelname == "ERROR"]


async def test_too_many_silent_questions_are_told_to_come_again(model_dir, session):
    """It is not the fault of the message that was not read."""
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        ready = channel.stream_unary("/inference.GRPCInferenceService/ModelReady")
        silent = [asyncio.create_task(ready().code()) for _ in range(8)]
        ended, waiting = await asyncio.wait(silent, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    assert {grpc.StatusCode.UNAVAILABLE} == {task.result() for task in ended}


async def test_silent_stream_ends(model_dir, session):
    """It holds one of few places."""
    limits = replace(LIMITS, idle_seconds=0.2)
    async with started_app(model_dir, session) as app, channel_to(app, limits) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(timeout=30)
        code = await call.code()

    assert (grpc.StatusCode.DEADLINE_EXCEEDED, "No message came in this stream for 0.2 s.") == (
        code,
        await call.details(),
    )


async def test_silent_stream_holds_up_no_shutdown(model_dir, session):
    """Its client is told at once, and asks another server."""
    async with started_app(model_dir, session) as app:
        listener = Listener(app, LIMITS, shared=False)
        [address] = await listener.start(["127.0.0.1"], 0)
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
            await call.write(photo().SerializeToString())
            await call.read()
            await listener.stop(2)
            code = await call.code()

    assert grpc.StatusCode.UNAVAILABLE == code
    assert "The server is shutting down." == await call.details()


@pytest.mark.parametrize("name", ["", "stats"])
async def test_names_that_no_model_has_are_not_found(model_dir, session, name):
    """Also those that are something else in the paths of HTTP."""
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        codes = []
        for ask, kind in (
            (stub.ModelMetadata, service_pb2.ModelMetadataRequest),
            (stub.ModelReady, service_pb2.ModelReadyRequest),
            (stub.ModelConfig, service_pb2.ModelConfigRequest),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(kind(name=name))
            codes.append(caught.value.code())
        stats = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest())

    assert [grpc.StatusCode.NOT_FOUND] * 3 == codes
    assert ["colours"] == [one.name for one in stats.model_stats]


async def test_failures_are_counted_under_the_model_that_was_meant(model_dir, session):
    """Not under the one that happened to admit the call before its message was read."""
    write_colours(model_dir, "other")
    async with (
        started_app(model_dir, session, models="colours,other") as app,
        channel_to(app) as channel,
    ):
        other = app.state.models.get("other")
        other.loaded, loaded = None, other.loaded
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in ("other", "unknown"):
            message = photo()
            message.model_name = name
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(message)
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(INFER)(b"\xff")
        other.loaded = loaded
        metrics = (await app.state.scrape()).decode()

    counted = [line for line in metrics.splitlines() if 'protocol="grpc"' in line]
    counted = [line for line in counted if line.startswith("vgg_requests_total")]
    assert {
        'vgg_requests_total{code="503",model="other",protocol="grpc"} 1.0',
        'vgg_requests_total{code="404",model="none",protocol="grpc"} 1.0',
        'vgg_requests_total{code="400",model="none",protocol="grpc"} 1.0',
    } == set(counted)


async def test_time_limits_of_call_and_request_are_kept(model_dir, session, client_gate):
    """The shorter one counts; the server says which stage it was in."""
    async with started_app(model_dir, session) as app, channel_to(app) as channel:
        session.before_run = client_gate.wait
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(photo(timeout=50_000), timeout=30)
        client_gate.set()

    assert grpc.StatusCode.DEADLINE_EXCEEDED == caught.value.code()
    assert "while the image was being run" in caught.value.details()


async def test_listener_that_stops_refuses_photos(model_dir, session):
    """And answers the rest until it has stopped."""
    async with started_app(model_dir, session) as app:
        listener = Listener(app, LIMITS, shared=False)
        [address] = await listener.start(["127.0.0.1"], 0)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            await stub.ModelInfer(photo())
            stopping = asyncio.create_task(listener.stop(5))
            await asyncio.sleep(0)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(photo())
            await stopping

    assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
