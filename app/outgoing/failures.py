"""Why a request to another host failed, and what its operator can do about it."""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx

from app.outgoing.certificates import set_variables
from app.outgoing.proxies import Proxy, proxy_for
from app.setup_errors import SetupError

_Kind = TypeVar("_Kind", bound=BaseException)

_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
"""Codes of OpenSSL (x509_vfy.h) for a certificate that nothing trusted vouches for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why, and what to do.

    Attributes:
        what: What happened, without passwords.
        advice: What to do, in the imperative; empty if `what` says it.
        unreachable: Whether the host cannot be reached, so that another one may be.
        final: Whether trying again is of no use.
    """

    what: str
    advice: str = ""
    unreachable: bool = False
    final: bool = False


def explain(exc: Exception, url: httpx.URL, late: str = "no answer in time") -> Failure:
    """Explain what a client of `app.outgoing.clients` raised for a request to `url`.

    `late` is the word for a time limit that passed before there was an answer.
    """
    setup = _found(exc, SetupError)
    if setup is not None:
        return Failure(str(setup), final=True)
    proxy = proxy_for(url) if url.host else None
    if isinstance(exc, httpx.ProxyError) and proxy is not None:
        return refused_by_proxy(proxy, str(exc), url)
    tls = _found(exc, ssl.SSLError)
    if isinstance(exc, httpx.ConnectError) and tls is not None:
        return _no_tls(tls, proxy, url)
    if isinstance(exc, httpx.ConnectError | httpx.TimeoutException | TimeoutError):
        return _unreachable(exc, proxy, url, late)
    return _broken(exc, proxy)


def refused_by_proxy(proxy: Proxy, answer: str, url: httpx.URL) -> Failure:
    """Explain the answer of a proxy that does not forward a request; it may begin with a status."""
    what = f"{proxy} answers {answer.rstrip('.')}"
    wants_login = ("407", "Invalid username", "Requested ")
    if answer.startswith(wants_login):
        scheme, _, host = proxy.shown.partition("://")
        advice = f"set {proxy.variable} to {scheme}://USER:PASSWORD@{host}, as it accepts them"
        return Failure(what, advice, final=True)
    advice = f"have {url.host} allowed there, or add it to NO_PROXY if it can be reached directly"
    return Failure(what, advice, final=answer.startswith("4"))


def or_by_server(proxy: Proxy, url: httpx.URL) -> str:
    """Say what helps against a refusal of a URL without TLS, which the proxy or the server gave."""
    return f"have {url.host} allowed in {proxy}, unless it is the server that asks for a log-in"


def _no_tls(error: ssl.SSLError, proxy: Proxy | None, url: httpx.URL) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of {url.host} is not trusted: {error.verify_message}"
        return Failure(what, _trust_advice(error), final=True)
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if proxy is not None and proxy.url.scheme == "https":
        what = f"{proxy} or {url.host} speaks no TLS: {reason}"
        return Failure(what, _proxy_advice(proxy, url))
    return Failure(f"{url.host} speaks no TLS {_through(proxy)}here: {reason}", "check the address")


def _trust_advice(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code not in _UNKNOWN_ISSUER:
        return "check the address and this machine's clock"
    named = " or ".join(set_variables())
    if named:
        return f"add the certificate that signed it (PEM) to what {named} names"
    return (
        "set SSL_CERT_FILE to a file with the certificate that signed it (PEM), if your"
        " organisation or its proxy signs its own"
    )


def _unreachable(exc: Exception, proxy: Proxy | None, url: httpx.URL, late: str) -> Failure:
    unknown = _found(exc, socket.gaierror)
    numbers = (one.errno for one in causes(exc) if isinstance(one, OSError) and one.errno)
    in_time = isinstance(exc, httpx.ConnectError)
    number = next(numbers, None)
    reason = unknown.strerror if unknown else os.strerror(number) if number else str(exc)
    if proxy is not None:
        what = f"{proxy} cannot be reached: {reason}" if in_time else f"{late} through {proxy}"
        return Failure(what, _proxy_advice(proxy, url), unreachable=not in_time)
    what = f"{url.host} cannot be {'looked up' if unknown else 'reached'}: {reason}"
    what = what if in_time else f"{late} from {url.host}"
    return Failure(what, "check the network, set HTTPS_PROXY if it has a proxy", unreachable=True)


def _proxy_advice(proxy: Proxy, url: httpx.URL) -> str:
    if proxy.url.scheme == "https":
        return f"write {proxy.variable} with http:// if the proxy itself speaks no TLS"
    return f"correct or unset {proxy.variable}, add {url.host} to NO_PROXY if it needs none"


def _broken(exc: Exception, proxy: Proxy | None) -> Failure:
    reason = next(one for one in causes(exc) if not isinstance(one, BaseExceptionGroup))
    what = str(reason) or type(reason).__name__
    lost = isinstance(exc, httpx.TransportError) and not isinstance(exc, httpx.UnsupportedProtocol)
    if lost:
        return Failure(f"the connection {_through(proxy)}broke: {what}", "run it again")
    if proxy is not None:  # the parser of SOCKS answers raises errors of its own
        what = f"{proxy} cannot be used: {what}"
        return Failure(what, f"correct or unset {proxy.variable}", final=True)
    return Failure(what, "correct the address", final=True)


def _through(proxy: Proxy | None) -> str:
    return f"through {proxy} " if proxy else ""


def _found(exc: BaseException, kind: type[_Kind]) -> _Kind | None:
    return next((one for one in causes(exc) if isinstance(one, kind)), None)


def causes(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and what a group of them holds."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for one in exc.exceptions:
                yield from causes(one)
        exc = exc.__cause__ or exc.__context__
