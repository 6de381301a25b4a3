"""The Open Inference Protocol over gRPC, with Triton's own client, on a real socket."""

import asyncio
import queue
import signal
import socket
import sys
import threading

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from app.web.keys import make_key
from app.web.protocols.oip.rpc.schema import HEALTH_SERVICE, messages
from tests.conftest import png, running_server
from tests.e2e.services import serve_and_wait

OUTPUT = "probabilities"
COLOURS = ("red", "lime", "blue")


def address_of(server):
    """Return the address at which a server speaks gRPC."""
    events = [one["event"] for one in server.events]
    [said] = [event for event in events if event.startswith("gRPC is spoken on")]
    return said.split()[-1]


@pytest.fixture(scope="module")
def server(colours):
    """A server of `colours` with small limits."""
    with running_server(
        colours,
        models="colours",
        grpc_port="0",
        max_body_bytes="2000000",
        max_upload_bytes="4000000",
        upload_silence_ms="2500",
    ) as server:
        yield server


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(address_of(server)) as client:
        yield client


def photos(*files):
    """Make the input of image files."""
    array = np.array(files, np.object_)
    return [triton.InferInput("image", array.shape, "BYTES").set_data_from_numpy(array)]


def pixels(*colours):
    """Make the input of pixels, all of one colour an image."""
    array = np.zeros((len(colours), 32, 32, 3), np.uint8)
    for index, colour in enumerate(colours):
        array[index, :, :, COLOURS.index(colour)] = 255
    return [triton.InferInput("image", array.shape, "UINT8").set_data_from_numpy(array)]


def refusal(call):
    """Return the status and the sentence with which a call is refused."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_client_learns_what_there_is(client):
    """Liveness, readiness, metadata, configuration, index and statistics."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colours")
    assert client.is_model_ready("colours", "1")
    assert "classification" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("colours", "1")
    config = client.get_model_config("colours").config
    [source] = config.input
    assert [-1, *source.dims] == list(metadata.inputs[0].shape) == [-1, 32, 32, 3]
    assert "FORMAT_NHWC" == type(source).Format.Name(source.format)
    assert "false" == config.parameters["trained"].string_value
    assert ["READY"] == [one.state for one in client.get_model_repository_index().models]
    client.infer("colours", pixels(*COLOURS))
    [stats] = client.get_inference_statistics().model_stats
    assert stats.inference_count >= 3
    assert client.get_inference_statistics("colours").model_stats[0].name == stats.name


def test_photos_and_pixels_are_answered_in_order(client):
    """As bytes, with the id; or as classes with their names."""
    photo = client.infer("colours", photos(*map(png, COLOURS)), request_id="7", model_version="1")
    pixel = client.infer("colours", pixels("blue", "red"))
    outputs = [triton.InferRequestedOutput(OUTPUT, class_count=1)]
    named = client.infer("colours", photos(png("lime")), outputs=outputs)

    assert "7" == photo.get_response().id
    assert [0, 1, 2] == photo.as_numpy(OUTPUT).argmax(axis=1).tolist()
    assert [2, 0] == pixel.as_numpy(OUTPUT).argmax(axis=1).tolist()
    assert b"1:goldfish, Carassius auratus" == named.as_numpy(OUTPUT)[0][0].partition(b":")[2]


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_messages_may_be_compressed(client, compression):
    """Each by itself, as gRPC does it."""
    answer = client.infer("colours", pixels("lime"), compression_algorithm=compression)

    assert 1 == answer.as_numpy(OUTPUT).argmax()


def test_error_has_a_status_and_our_sentence(client):
    """Those of HTTP, by gRPC's names."""
    bad = refusal(lambda: client.infer("colours", photos(png(), b"junk")))

    assert ("INVALID_ARGUMENT", "inputs[0].data[1]: Plain text is not") == (bad[0], bad[1][:36])
    for call in (
        lambda: client.infer("vgg99", photos(png())),
        lambda: client.infer("colours", photos(png()), model_version="2"),
        lambda: client.get_model_metadata("vgg99"),
        lambda: client.get_model_config("colours/stats"),
        lambda: client.is_model_ready("vgg99"),
    ):
        assert "NOT_FOUND" == refusal(call)[0]
    assert "INVALID_ARGUMENT" == refusal(lambda: client.infer("colours", photos()))[0]
    late = refusal(lambda: client.infer("colours", photos(png()), timeout=1))
    assert late[0] in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}


def test_clients_deadline_is_kept(client):
    """It comes with the call: too late, or refused because it would be."""
    status, _ = refusal(
        lambda: client.infer("colours", photos(*[png()] * 64), client_timeout=0.0005)
    )

    assert status in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_message_above_the_limit_is_refused(server, compression):
    """Even if it came as a few kilobytes; the limit is that of an upload."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address_of(server), options, compression=compression) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        message = service_pb2.ModelInferRequest(raw_input_contents=[bytes(50_000_000)])
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message)

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()


def test_stream_is_answered_in_order(client):
    """A request that fails does not end it."""
    answers: queue.Queue[tuple[object, object]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number, data in enumerate((png("lime"), b"junk", png("blue"))):
        client.async_stream_infer("colours", photos(data), request_id=str(number))
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()

    assert [1, None, 2] == [
        result and result.as_numpy(OUTPUT).argmax()  # type: ignore[attr-defined] # Triton's
        for result, _ in found
    ]
    assert "Plain text is not supported" in str(found[1][1])


@pytest.mark.anyio
async def test_calls_at_a_time_share_runs(server):
    """Each keeps its own answer."""
    async with triton_aio.InferenceServerClient(address_of(server)) as client:
        given = [COLOURS[number % 3] for number in range(30)]
        answers = await asyncio.gather(*(client.infer("colours", pixels(one)) for one in given))

    assert [COLOURS.index(one) for one in given] == [
        one.as_numpy(OUTPUT).argmax() for one in answers
    ]


def test_client_that_sends_nothing_is_ended(server):
    """After the silence that an upload may have; it is counted, and holds no memory."""
    with grpc.insecure_channel(address_of(server)) as channel:
        silent = threading.Event()

        def nothing():
            silent.wait(60)
            yield from ()

        send = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        call = send.future(nothing(), timeout=60)
        assert grpc.StatusCode.DEADLINE_EXCEEDED == call.code()
        assert "the upload was too slow" in call.details().lower()
        silent.set()
    metrics = httpx.get(f"{server.url}/metrics").text

    assert "vgg_upload_bytes 0.0" in metrics
    assert 'vgg_requests_total{code="408",model="colours",protocol="grpc"} 1.0' in metrics


def test_bytes_that_are_no_message_are_the_clients_mistake(server):
    """In every method; none of them ends in an error of the server."""
    methods = [
        one.name for one in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    ]
    codes = {}
    with grpc.insecure_channel(address_of(server)) as channel:
        for name in methods:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            try:
                call(b"\xff" * 20, timeout=30)
                codes[name] = grpc.StatusCode.OK
            except grpc.RpcError as exc:
                codes[name] = exc.code()

    read = {
        "ModelReady",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "ModelInfer",
    }
    assert {grpc.StatusCode.INVALID_ARGUMENT} == {codes.pop(name) for name in read}
    assert {grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED} == set(codes.values())


def test_health_check_of_kubernetes_is_answered(server):
    """For the server and for its service."""
    with grpc.insecure_channel(address_of(server)) as channel:
        check = channel.unary_unary(
            f"/{HEALTH_SERVICE}/Check",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages()["HealthCheckResponse"].FromString,
        )
        asked = messages()["HealthCheckRequest"]
        answers = [
            check(asked(service=name)).status for name in ("", "inference.GRPCInferenceService")
        ]
        with pytest.raises(grpc.RpcError) as caught:
            check(asked(service="x"))

    assert [1, 1] == answers
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


def test_keys_and_rates_are_those_of_http(colours, tmp_path):
    """A key comes as metadata; refusals say when to retry, and HTTP sees the same bucket."""
    key, line = make_key("alice")
    (tmp_path / "keys").write_text(line)
    with running_server(
        colours,
        models="colours",
        grpc_port="0",
        api_keys_file=str(tmp_path / "keys"),
        rate_limit="0.001",
        rate_burst="3",
    ) as server:
        with triton.InferenceServerClient(address_of(server)) as client:
            headers = {"authorization": f"Bearer {key}"}
            assert client.is_model_ready("colours")
            nobody = [
                refusal(lambda: client.infer("colours", photos(png()))),
                refusal(client.get_inference_statistics),
            ]
            answer = client.infer("colours", photos(*map(png, COLOURS)), headers=headers)
            full = refusal(lambda: client.infer("colours", photos(png()), headers=headers))
        with grpc.insecure_channel(address_of(server)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(service_pb2.ModelInferRequest(), metadata=tuple(headers.items()))
            trailing = dict(caught.value.trailing_metadata())
            with pytest.raises(grpc.RpcError) as stream:
                list(stub.ModelStreamInfer(iter([])))
        http = httpx.post(f"{server.url}/predict", content=png(), headers=headers)

    assert [0, 1, 2] == answer.as_numpy(OUTPUT).argmax(axis=1).tolist()
    assert ["UNAUTHENTICATED"] * 2 == [status for status, _ in nobody]
    assert "API key" in nobody[0][1]
    assert grpc.StatusCode.UNAUTHENTICATED == stream.value.code()
    assert "RESOURCE_EXHAUSTED" == full[0]
    assert int(trailing["retry-after"]) > 1
    assert 429 == http.status_code


def test_sigterm_drains_and_loses_nothing(colours):
    """Calls that were accepted are answered, and the server is not ready meanwhile."""
    with running_server(colours, models="colours", grpc_port="0", drain_delay_ms="700") as server:
        statuses, stop = [], threading.Event()

        def call():
            with triton.InferenceServerClient(address_of(server)) as client:
                while not stop.is_set():
                    try:
                        client.infer("colours", photos(png()))
                        statuses.append("OK")
                    except InferenceServerException as exc:
                        statuses.append(exc.message())
                        return  # the port is closed

        callers = [threading.Thread(target=call) for _ in range(3)]
        for one in callers:
            one.start()
        with triton.InferenceServerClient(address_of(server)) as client:
            client.infer("colours", photos(png()))
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("draining")
            assert not client.is_server_ready()
            assert not client.is_model_ready("colours")
            assert client.is_server_live()
        server.process.wait(30)
        stop.set()
        for one in callers:
            one.join(30)

    assert statuses.count("OK") > 3
    ends = ("The server is shutting down.", "failed to connect")
    assert all(one == "OK" or one.startswith(ends) for one in statuses), set(statuses)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_fronts_share_the_port(colours):
    """Each front process speaks gRPC on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running_server(
        colours, models="colours", grpc_port=str(port), front_processes="2"
    ) as server:
        assert f"127.0.0.1:{port}" == address_of(server)
        found = set()
        for _ in range(8):
            with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
                found.add(client.infer("colours", photos(png("blue"))).as_numpy(OUTPUT).argmax())

    assert {2} == found


def test_port_that_is_taken_stops_the_start(colours):
    """The sentence names the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = serve_and_wait(colours, models="colours", grpc_port=str(taken.getsockname()[1]))

    assert 1 == ended.returncode
    assert "VGG_GRPC_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
