"""A failed request is one sentence that names its cause, and advice that fits it."""

import asyncio
import gc
import socket
import socketserver
import warnings

import httpx
import pytest

from app.outgoing.clients import download_client
from app.outgoing.failures import explain
from tests.outgoing.field import HttpProxy, SocksProxy, make_identity, middle

URL = "https://weights.invalid/vgg.bin"


def failure_of(url):
    """Ask, see it fail and explain it."""

    async def run():
        async with download_client({}) as client:
            return await client.get(url, timeout=0.5)

    failure = None
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            asyncio.run(run())
        except Exception as exc:  # noqa: BLE001 (whatever it is, it is explained)
            failure = explain(exc, httpx.URL(url))
        gc.collect()  # httpcore leaves it to this to close a connection to a SOCKS proxy
    return failure


@pytest.fixture
def closed():
    """Find an address that refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def silent():
    """Make an address that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_unknown_name():
    """A name that nobody knows may be known to another network, or to a proxy."""
    failure = failure_of(URL)

    assert failure.what.startswith("weights.invalid cannot be looked up: ")
    assert "HTTPS_PROXY" in failure.advice
    assert (True, False) == (failure.unreachable, failure.final)


def test_refused(closed):
    """An address where nobody listens."""
    failure = failure_of(f"http://{closed}/")

    assert "127.0.0.1 cannot be reached: Connection refused" == failure.what
    assert (True, False) == (failure.unreachable, failure.final)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silence(silent, scheme):
    """An address that says nothing."""
    failure = failure_of(f"{scheme}://{silent}/")

    assert "no answer in time from 127.0.0.1" == failure.what
    assert (True, False) == (failure.unreachable, failure.final)


def test_unknown_authority(tls_server):
    """The variable that would help is named, and no mirror."""
    failure = failure_of(tls_server.url)

    assert failure.what.startswith("the certificate of 127.0.0.1 is not trusted: ")
    assert "set SSL_CERT_FILE" in failure.advice
    assert (False, True) == (failure.unreachable, failure.final)


def test_other_authority(monkeypatch, tls_server, tmp_path):
    """The variable that is set is named."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(make_identity(tmp_path).authority))

    assert "to what REQUESTS_CA_BUNDLE names" in failure_of(tls_server.url).advice


def test_other_name(monkeypatch, tls_server, identity):
    """Further authorities would not help against the wrong host."""
    monkeypatch.setenv("SSL_CERT_FILE", str(identity.authority))
    failure = failure_of(tls_server.url.replace("127.0.0.1", "localhost"))

    assert "localhost" in failure.what
    assert "check the address and this machine's clock" == failure.advice


def test_no_tls(server):
    """A server of plain HTTP."""
    failure = failure_of(server.url.replace("http:", "https:"))

    assert failure.what.startswith("127.0.0.1 speaks no TLS here: ")


def test_proxy_without_tls(monkeypatch, server):
    """The address of nearly every proxy begins with http://, also for https."""
    monkeypatch.setenv("HTTPS_PROXY", f"https://{server.address}")

    assert (
        "write HTTPS_PROXY with http:// if the proxy itself speaks no TLS" in failure_of(URL).advice
    )


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxy_that_refuses(monkeypatch, closed, scheme):
    """The variable is named; another host would not be reached either."""
    monkeypatch.setenv("all_proxy", f"{scheme}://me:secret@{closed}")
    failure = failure_of(URL)

    where = f"the proxy of all_proxy ({scheme}://{closed})"
    assert f"{where} cannot be reached: Connection refused" == failure.what
    assert "NO_PROXY" in failure.advice
    assert not failure.unreachable


def test_proxy_with_an_unknown_name(monkeypatch):
    """It is the proxy whose name is wrong, and not the server."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.invalid:3128")

    assert failure_of(URL).what.startswith("the proxy of HTTPS_PROXY (http://proxy.invalid:3128)")


def test_proxy_that_says_nothing(monkeypatch, silent):
    """It ends in time, and the proxy is named."""
    monkeypatch.setenv("HTTPS_PROXY", silent)

    assert f"through the proxy of HTTPS_PROXY (http://{silent})" in failure_of(URL).what


def test_time_that_is_over(monkeypatch):
    """The caller's own limit is explained in its own words."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.invalid")
    failure = explain(TimeoutError(), httpx.URL(URL), "no answer within 7.0 s")

    assert "no answer within 7.0 s through the proxy of ALL_PROXY" in failure.what


@pytest.mark.parametrize(
    ("handler", "scheme"), [(HttpProxy, "http"), (SocksProxy, "socks5")], ids=["http", "socks"]
)
@pytest.mark.parametrize("user", ["", "me:wrong@"])
def test_proxy_that_wants_another_login(monkeypatch, server, handler, scheme, user):
    """It is told how to write user and password, and neither is shown."""
    with middle(handler, server, "me:right") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{user}{proxy.address}")
        failure = failure_of(URL)

    assert f"the proxy of HTTPS_PROXY ({scheme}://{proxy.address}) answers" in failure.what
    assert f"set HTTPS_PROXY to {scheme}://USER:PASSWORD@{proxy.address}" in failure.advice
    assert "wrong" not in f"{failure}"
    assert failure.final


def test_proxy_that_is_a_web_server(monkeypatch, server):
    """A server that knows no CONNECT."""
    monkeypatch.setenv("HTTPS_PROXY", server.address)
    failure = failure_of(URL)

    assert f"the proxy of HTTPS_PROXY (http://{server.address}) answers 501" in failure.what
    assert "weights.invalid" in failure.advice


class Greeter(socketserver.StreamRequestHandler):
    """Answers before it was asked."""

    def handle(self):
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.rfile.read(1)


def test_proxy_that_speaks_no_socks(monkeypatch, server):
    """Another server in the place of a SOCKS proxy."""
    with middle(Greeter, server) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
        failure = failure_of(URL)

    assert f"the proxy of ALL_PROXY (socks5://{proxy.address}) cannot be used" in failure.what


def test_wrong_variable(monkeypatch):
    """A wrong variable is its own cause."""
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    failure = failure_of(URL)

    assert failure.what.startswith("HTTPS_PROXY is not the address of a proxy")
    assert failure.final


def test_address_of_no_use():
    """Another scheme is not tried again."""
    failure = failure_of("ftp://weights.invalid/")

    assert ("correct the address", True) == (failure.advice, failure.final)
