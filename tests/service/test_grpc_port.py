"""The port of gRPC, before anything listens on it."""

import socket
import sys

import pytest

from app.service.app import create_app
from app.service.grpc_port import GrpcPort, announce_grpc, check_grpc_port
from app.service.settings import Settings
from app.setup_errors import SetupError

RPC = "app.web.protocols.oip.rpc"


def refusal(**settings):
    """Return the sentence with which settings are refused."""
    with pytest.raises(SetupError) as caught:
        check_grpc_port(Settings(**settings))
    return str(caught.value)


@pytest.fixture
def without_grpc(monkeypatch):
    """A process without the extra, in which nothing of it was imported."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    for name in [name for name in sys.modules if name.startswith(RPC)]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("without_grpc")
def test_missing_extra_is_named_with_its_command():
    """Only if the port is set; without it nothing is imported."""
    check_grpc_port(Settings())
    imported = [name for name in sys.modules if name.startswith(RPC)]

    assert [] == imported
    assert "-m pip install grpcio" in refusal(grpc_port=0)


def test_port_has_to_be_free_and_another():
    """Than that of HTTP; the fronts cannot each choose one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "VGG_GRPC_PORT: cannot listen" in refusal(grpc_port=taken.getsockname()[1])
    assert "VGG_GRPC_PORT is VGG_PORT" in refusal(grpc_port=8123, port=8123)
    assert "name a port" in refusal(grpc_port=0, front_processes=2)
    check_grpc_port(Settings(grpc_port=0, port=0))


def test_link_of_kubernetes_is_no_port(monkeypatch):
    """A Service called vgg-grpc sets the variable to an address."""
    monkeypatch.setenv("VGG_GRPC_PORT", "tcp://10.0.0.1:8001")

    assert Settings().grpc_port is None


@pytest.mark.anyio
async def test_server_without_the_port_starts_and_stops_nothing(model_dir):
    """It has none."""
    settings = Settings(models=("colours",), model_dir=model_dir)
    port = GrpcPort(create_app(settings), settings)
    await port.start(announced=False)
    await port.stop(1)


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("*", True)]
)
def test_port_that_strangers_reach_is_warned_of(caplog, tmp_path, host, warned):
    """Beside a Unix socket too, which none of them reaches; keys keep them out."""
    caplog.set_level("INFO")
    settings = Settings(host=host, grpc_port=8123, uds=tmp_path / "vgg.sock")
    announce_grpc(settings)
    announce_grpc(settings.model_copy(update={"api_keys_file": tmp_path / "keys"}))

    levels = [record.levelname for record in caplog.records]
    assert ["INFO", *(["WARNING"] if warned else []), "INFO"] == levels


@pytest.mark.anyio
async def test_port_that_was_taken_meanwhile_is_named(model_dir):
    """The error is one of the operator."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(
            models=("colours",), model_dir=model_dir, grpc_port=taken.getsockname()[1]
        )
        with pytest.raises(SetupError, match="VGG_GRPC_PORT"):
            await GrpcPort(create_app(settings), settings).start(announced=False)
