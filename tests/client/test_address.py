"""What a user may write for a server."""

import httpx
import pytest

from app.client.address import (
    AddressError,
    authorization,
    below,
    open_client,
    server_url,
    shown,
    why_unreachable,
)
from app.setup_errors import KeysError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host:8000", "http://host:8000/predict"),
        ("host:8000", "http://host:8000/predict"),
        (" localhost ", "http://localhost/predict"),
        ("https://host/", "https://host/predict"),
        ("http://host/predict", "http://host/predict"),
        ("http://host/predict/?top_k=3#x", "http://host/predict"),
        ("http://host/vgg", "http://host/vgg/predict"),
        ("http://host/vgg/", "http://host/vgg/predict"),
        ("http://host/a%20b/predict", "http://host/a%20b/predict"),
        ("[::1]:8000", "http://[::1]:8000/predict"),
        ("HTTP://HOST", "http://host/predict"),
        ("10.0.0.1", "http://10.0.0.1/predict"),
    ],
)
def test_a_url_may_be_written_in_many_ways(text, url):
    """With or without its scheme, its path and a slash, behind a prefix."""
    assert url == str(below(server_url(text), "predict"))


def test_a_name_stays_in_its_place():
    """A model's name is one part of a path, whatever is in it."""
    url = below(server_url("http://host/vgg"), "models", "a/b?c d")

    assert "http://host/vgg/models/a%2Fb%3Fc%20d" == str(url)


def test_the_environment_names_a_server(monkeypatch):
    """VGG_URL counts where no URL is given; without it there is no server."""
    monkeypatch.setenv("VGG_URL", "http://there:81")

    assert "http://there:81/" == str(server_url(None))
    monkeypatch.delenv("VGG_URL")
    with pytest.raises(AddressError, match="VGG_URL"):
        server_url(None)


@pytest.mark.parametrize(
    "text",
    ["", "ftp://host", "http://", "file:///etc", "http:/host", "http:host", "not a url",
     "http://host:port", "http://host:99999", "http://[::1", "http://a b/"],
)  # fmt: skip
def test_what_is_no_url_is_told(text):
    """The sentence shows what was expected."""
    with pytest.raises(AddressError, match=r"Expected http://HOST:PORT\."):
        server_url(text)


def test_a_password_is_not_shown():
    """Sentences name the server, and nothing that opens it."""
    assert "http://host/vgg" == shown(server_url("http://ada:secret@host/vgg/predict"))


def test_a_key_that_cannot_be_is_told():
    """It is refused before anything is sent."""
    with pytest.raises(KeysError):
        open_client(server_url("http://host"), "a key")
    assert "Bearer vgg_~" == authorization("vgg_~")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectTimeout("x"), "does not answer"),
        (httpx.ProxyError("403 Forbidden"), "403 Forbidden"),
        (httpx.RemoteProtocolError("x"), "closed the connection"),
        (httpx.PoolTimeout("x"), "does not answer"),
        (httpx.UnsupportedProtocol("odd"), "odd"),
    ],
)
def test_every_failure_has_a_sentence(error, said):
    """It names the server."""
    sentence = why_unreachable(server_url("http://host:81"), error)

    assert said in sentence
    assert "http://host:81" in sentence
