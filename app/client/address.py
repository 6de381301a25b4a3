"""The address of a server: what a user may write, the client for it, and why nobody answers there."""

import os
import re
import socket
import ssl
from typing import Final
from urllib.parse import quote

import httpx

from app import __version__
from app.outgoing.clients import Client, server_client
from app.outgoing.failures import causes, explain
from app.outgoing.proxies import is_loopback, proxy_for
from app.setup_errors import KeysError

CONNECT: Final = 10.0
"""Seconds to connect."""
KEPT: Final = 256
"""Most idle connections that are kept."""
_PATH: Final = "/predict"
_HOST: Final = re.compile(r"[\w.:-]+")
_ONE_SLASH: Final = re.compile(r"https?:/?[^/\d]")
_MOST_PORT: Final = 65_535
_SENDABLE: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750: keys of other servers too


class AddressError(ValueError):
    """What a user wrote is no URL of a server."""


def server_url(text: str | None) -> httpx.URL:
    """Return the URL of a server for what a user writes: a host, a URL, one with a prefix or with /predict.

    Args:
        text: None for the variable VGG_URL.

    Raises:
        AddressError: If it is no URL of HTTP.
    """
    if text is None:
        text = os.environ.get("VGG_URL", "")
        if not text.strip():
            raise AddressError("Give the URL of a server, or set VGG_URL: http://HOST:PORT.")
    text = text.strip()
    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")  # as curl does
    except httpx.InvalidURL as exc:
        raise AddressError(f"{text!r} is not a URL: {exc}. Expected http://HOST:PORT.") from exc
    known = url.scheme in {"http", "https"} and _HOST.fullmatch(url.host) is not None
    if not known or _ONE_SLASH.match(text) or (url.port or 0) > _MOST_PORT:
        raise AddressError(f"{text!r} is not the URL of a server. Expected http://HOST:PORT.")
    path = url.path.rstrip("/").removesuffix(_PATH).rstrip("/")
    return url.copy_with(path=f"{path}/", query=None, fragment=None)


def below(url: httpx.URL, *parts: str) -> httpx.URL:
    """Return the URL of an endpoint: `predict`; `models` and the name of one."""
    path = "/".join(quote(part, safe="") for part in parts)
    return url.copy_with(raw_path=url.raw_path + path.encode())


def shown(url: httpx.URL) -> str:
    """Return a URL for sentences: as the user wrote it, but without a password."""
    return str(url.copy_with(userinfo=b"")).rstrip("/")


def authorization(key: str) -> str:
    """Return the value of the header `Authorization` for a key.

    Raises:
        KeysError: If it is not a key; the sentence does not repeat it.
    """
    if not _SENDABLE.fullmatch(key):
        raise KeysError("Only letters, digits and -._~+/= are allowed in an API key.")
    return f"Bearer {key}"


def open_client(
    url: httpx.URL, key: str | None, transport: httpx.AsyncBaseTransport | None = None
) -> Client:
    """Return a client for a server; proxies and certificates are those of the environment.

    Raises:
        KeysError: If no header can hold the key.
        SetupError: If a variable of the environment is wrong; it is named.
    """
    headers = {"Accept": "application/json", "User-Agent": f"vgg-serve/{__version__}"}
    if key:
        headers["Authorization"] = authorization(key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
    return server_client(url, headers=headers, limits=limits, transport=transport)


def why_unreachable(url: httpx.URL, exc: Exception) -> str:
    """Say why no connection to a server was made, and what to do."""
    failure = explain(exc, url)
    if failure.final or (proxy_for(url) is not None and not is_loopback(url)):
        advice = f" {failure.advice[:1].upper()}{failure.advice[1:]}." if failure.advice else ""
        return f"No answer from {shown(url)}: {failure.what}.{advice}"
    sentences = (_known(url, cause) for cause in causes(exc))
    return next(filter(None, sentences), None) or (
        f"No answer from {shown(url)}: {exc!r}. Check the URL, and that the server runs."
    )


def _known(url: httpx.URL, cause: BaseException) -> str | None:
    where = shown(url)
    match cause:
        case ssl.SSLError():
            sentence = f"{where} does not speak TLS. Does the URL begin with http:// instead?"
        case socket.gaierror():
            sentence = f"There is no host {url.host} ({cause.strerror}). Check the URL {where}."
        case ConnectionRefusedError():
            sentence = f"No server listens at {where}. Check the URL, and that the server runs."
        case httpx.TimeoutException() | TimeoutError():
            sentence = f"{where} does not answer. Check the URL, and for a firewall in between."
        case httpx.RemoteProtocolError() | ConnectionResetError() | httpx.ReadError():
            sentence = (
                f"{where} closed the connection without an answer. If that repeats, check the URL:"
                " does it begin with https:// instead?"
            )
        case _:
            return None
    return sentence
