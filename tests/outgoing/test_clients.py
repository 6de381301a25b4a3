"""Real proxies are asked for what they should be, and nothing else is sent to them."""

import asyncio
import io
import logging

import httpx
import pytest

from app.outgoing.clients import download_client, server_client
from app.service.logs import configure_logs
from app.setup_errors import SetupError
from tests.outgoing.field import HttpProxy, SocksProxy, middle
from tests.weights.download.file_server import CONTENT, reply


def download(url, headers=None):
    """Get all of it, whatever redirects there are."""

    async def run():
        async with download_client(headers or {}) as client:
            return (await client.get(url)).content

    return asyncio.run(run())


@pytest.fixture
def trusted(monkeypatch, identity):
    """Trust the authority of these tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(identity.authority))


@pytest.mark.parametrize("login", [None, "me:p@ss#/"])
@pytest.mark.usefixtures("trusted")
def test_http_proxy_tunnels_https(monkeypatch, tls_server, login):
    """The proxy resolves the name, gets user and password, and sees nothing of the request."""
    with middle(HttpProxy, tls_server, login) as proxy:
        user = "me:p%40ss%23%2F@" if login else ""
        monkeypatch.setenv("https_proxy", f"{user}{proxy.address}")

        assert CONTENT == download("https://weights.invalid/vgg.bin")
    assert ["CONNECT weights.invalid:443"] == proxy.asked
    assert "Proxy-Authorization" not in tls_server.requests[0].headers


def test_http_proxy_forwards_http(monkeypatch, server):
    """Plain HTTP is not tunnelled."""
    with middle(HttpProxy, server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}/")

        assert CONTENT == download("http://weights.invalid/vgg.bin")
    assert ["GET http://weights.invalid/vgg.bin"] == proxy.asked


@pytest.mark.usefixtures("trusted")
def test_proxy_with_tls(monkeypatch, tls_server, identity):
    """The certificates that are trusted are those for the proxy, too."""
    with middle(HttpProxy, tls_server, identity=identity) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.address}")

        assert CONTENT == download("https://weights.invalid/vgg.bin")
    assert ["CONNECT weights.invalid:443"] == proxy.asked


@pytest.mark.parametrize("login", [None, "me:secret"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.usefixtures("trusted")
def test_socks_proxy(monkeypatch, tls_server, login, scheme):
    """Either way, the proxy resolves the name."""
    with middle(SocksProxy, tls_server, login) as proxy:
        user = f"{login}@" if login else ""
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{user}{proxy.address}")

        assert CONTENT == download("https://weights.invalid/vgg.bin")
    assert ["weights.invalid:443"] == proxy.asked


def test_each_hop_has_its_own_proxy(monkeypatch, server):
    """NO_PROXY is asked for the target of a redirect, too."""
    with middle(HttpProxy, server) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        server.script = [reply(302, {"Location": server.url})]

        assert CONTENT == download("http://hub.invalid/vgg.bin")
    assert ["GET http://hub.invalid/vgg.bin"] == proxy.asked
    assert 2 == len(server.requests)


@pytest.mark.usefixtures("trusted")
def test_authorization_stays_with_its_host(server, tls_server):
    """A redirect within the host keeps it; one to another host, port or scheme drops it."""
    server.script = [reply(307, {"Location": "/other"}), reply(302, {"Location": tls_server.url})]

    assert CONTENT == download(server.url, {"Authorization": "Bearer secret"})
    sent = [
        request.headers["Authorization"] for request in (*server.requests, *tls_server.requests)
    ]
    assert ["Bearer secret", "Bearer secret", None] == sent


def ask(url):
    """Ask a server of the user."""

    async def run():
        async with server_client(httpx.URL(url), timeout=5.0) as opened:
            return (await opened.get(f"{url}/vgg.bin")).content

    return asyncio.run(run())


@pytest.mark.usefixtures("trusted")
def test_server_of_the_user(monkeypatch, tls_server):
    """A server elsewhere is asked through the proxy, over HTTPS as well."""
    with middle(HttpProxy, tls_server) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)

        assert CONTENT == ask("https://vgg.invalid")
    assert ["CONNECT vgg.invalid:443"] == proxy.asked


def test_this_machine_is_asked_directly(monkeypatch, server):
    """Nobody's proxy reaches the loopback address of this machine."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:1")

    assert CONTENT == ask(f"http://{server.address}")


def test_http_needs_no_certificates(monkeypatch, server):
    """A lost file of certificates is no matter where none is checked."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")

    assert CONTENT == ask(f"http://{server.address}")
    with pytest.raises(SetupError, match="SSL_CERT_FILE"):
        ask("https://vgg.invalid")


def test_unknown_authority_is_refused(tls_server):
    """Nothing is sent to a server that nobody vouches for."""
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        ask(tls_server.url.removesuffix("/vgg.bin"))
    assert [] == tls_server.requests


@pytest.mark.usefixtures("trusted")
def test_passwords_stay_out_of_the_log(monkeypatch, tls_server):
    """Not even `debug` shows what opens a proxy, which httpcore would log."""
    log = io.StringIO()
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    configure_logs("debug", "json", log)
    try:
        for handler, scheme in ((SocksProxy, "socks5"), (HttpProxy, "http")):
            with middle(handler, tls_server, "me:secret") as proxy:
                monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:secret@{proxy.address}")
                download("https://weights.invalid/vgg.bin", {"Authorization": "Bearer secret"})
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.captureWarnings(capture=False)

    assert "secret" not in log.getvalue()
