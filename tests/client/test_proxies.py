"""The client asks through the proxy of the environment, and says which one refused."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from app.client import Client, StrangerError, UnreachableError
from app.setup_errors import SetupError
from tests.conftest import PHOTOS
from tests.outgoing.field import HttpProxy, SocksProxy, leave_alone, middle

COFFEE = PHOTOS / "coffee.jpg"


@pytest.fixture
def behind(monkeypatch, mini_server):
    """Run a proxy that leads to the small trained model, and name it in the environment."""
    leave_alone(monkeypatch)
    port = urlsplit(mini_server.url).port

    def behind(handler, scheme, **options):
        found = middle(handler, SimpleNamespace(server_address=("127.0.0.1", port)), **options)
        return found, lambda proxy, user="": monkeypatch.setenv(
            "HTTP_PROXY", f"{scheme}://{user}{proxy.address}"
        )

    return behind


@pytest.mark.parametrize(("handler", "scheme"), [(HttpProxy, "http"), (SocksProxy, "socks5")])
def test_a_proxy_leads_to_the_server(behind, handler, scheme):
    """By HTTP or SOCKS, with a log-in; the server's name is looked up there."""
    running, name = behind(handler, scheme, login="ada:secret")
    with running as proxy:
        name(proxy, "ada:secret@")
        with Client("http://vgg.example/", retries=0) as client:
            assert "espresso" == client.classify(COFFEE).best.label
    assert "vgg.example" in proxy.asked[0]


def test_a_proxy_without_its_log_in_is_told(behind):
    """Which variable has it is in the sentence; it is not taken for the server's answer."""
    running, name = behind(HttpProxy, "http", login="ada:secret")
    with running as proxy:
        name(proxy)
        with (
            Client("http://vgg.example/", retries=0) as client,
            pytest.raises(StrangerError, match="HTTP_PROXY"),
        ):
            client.classify(COFFEE)


def test_a_wrong_variable_is_told_at_once(monkeypatch):
    """Before anything is sent; a proxy that is away is named."""
    leave_alone(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "socks4://127.0.0.1:1")
    with pytest.raises(SetupError, match="HTTP_PROXY"):
        Client("http://vgg.example")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with (
        Client("http://vgg.example", retries=0) as client,
        pytest.raises(UnreachableError, match="the proxy of HTTP_PROXY"),
    ):
        client.classify(COFFEE)
