"""Which proxy a request to another host takes.

The rules are curl's, which most tools share: `https_proxy` for https, `http_proxy` for http, and
`all_proxy` for what has none of its own; lower case counts before upper case, and an empty
variable as none. Where none is set, the settings of macOS or Windows count. `no_proxy` lists,
with commas or spaces, what is asked directly:

    *                        everything
    example.org              this name and all below it, as do .example.org and *.example.org
    10.0.0.1  ::1            an address; [::1] too
    10.0.0.0/8  fd00::/8     a network
    example.org:8443  [::1]:8080      one port of it

httpx reads the same variables, but raises for networks of IPv6, takes 10.0.0.0/8 for a name, and
fails on a proxy that it does not know where no request would take it.
"""

import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.request import getproxies

import httpx

from app.setup_errors import SetupError

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65_535
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"[\w.*-]+")

_Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and who named it.

    Attributes:
        variable: The variable of the environment.
        url: Its address, with user and password.
        shown: Its address without them.
    """

    variable: str
    url: httpx.URL = field(repr=False)
    shown: str

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"the proxy of {self.variable} ({self.shown})"


def proxy_for(url: httpx.URL) -> Proxy | None:
    """Return the proxy for an address; None where it is asked directly.

    Raises:
        SetupError: If a variable that counts here is wrong; it names the variable.
    """
    for name in (f"{url.scheme}_proxy", "all_proxy"):
        variable, value = _variable(name)
        if value:
            return None if _is_exempt(url) else _parse(variable, value)
    of_system = getproxies().get(url.scheme, "").strip()
    return None if not of_system or _is_exempt(url) else _parse("the system", of_system)


def unused_proxy(url: str) -> str:
    """Say that a proxy is not asked, for one who measures or checks a server directly; or nothing."""
    address = httpx.URL(url)
    proxy = None if is_loopback(address) else proxy_for(address)
    return f" It was asked directly, and not through {proxy}." if proxy else ""


def is_loopback(url: httpx.URL) -> bool:
    """Return whether an address is this machine."""
    address = _address(url.host)
    return url.host == "localhost" if address is None else address.is_loopback


def _variable(name: str) -> tuple[str, str]:
    """Return the variable that counts, in lower or upper case, and its value."""
    found = ((variable, os.environ.get(variable, "").strip()) for variable in (name, name.upper()))
    return next((pair for pair in found if pair[1]), (name, ""))


def _parse(variable: str, value: str) -> Proxy:
    try:
        url = httpx.URL(value if "://" in value else f"http://{value}")
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme.startswith("socks") and url.scheme not in _SCHEMES:
        raise SetupError(
            f"{variable} names a proxy of the kind {url.scheme}://; of SOCKS proxies, those of"
            " version 5 can be used: write socks5://HOST:PORT"
        )
    # A password with an unescaped #, / or ? ends up behind the host: it must not be shown.
    behind = url.path not in {"", "/"} or url.query or url.fragment
    reachable = re.fullmatch(r"[\w.:-]+", url.host) and (url.port or 0) <= _MOST_PORT
    if url.scheme not in _SCHEMES or not reachable or behind:
        raise SetupError(
            f"{variable} is not the address of a proxy: write http://HOST:PORT or"
            " http://USER:PASSWORD@HOST:PORT, special characters of the password as %23 for #"
        )
    bare = url.copy_with(username=None, password=None, path="/")
    return Proxy(variable, url, str(bare).rstrip("/"))


def _is_exempt(url: httpx.URL) -> bool:
    variable, value = _variable("no_proxy")
    entries = filter(None, re.split(r"[,\s]+", value))
    return True in [_covers(variable, entry, url) for entry in entries]  # all, to find mistakes


def _covers(variable: str, entry: str, url: httpx.URL) -> bool:
    """Return whether an entry of `no_proxy` covers an address."""
    text = (entry.partition("://")[2] or entry).rstrip("/")
    address = _address(url.host)
    try:
        if "/" in text:
            network = ip_network(re.sub(r"[\[\]]", "", text), strict=False)
            return address is not None and address in network
        host, port = text, None
        if _address(text) is None:
            found = _HOST.fullmatch(text)
            host, port = found.groups() if found else ("", None)
        if _address(host) is not None:
            covered = _address(host) == address
        else:
            name = host.lstrip(".").removeprefix("*.").rstrip(".").lower()
            if not _NAME.fullmatch(name):
                raise ValueError  # noqa: TRY301 (one sentence for all that is wrong)
            name, asked = name.encode("idna").decode(), url.raw_host.decode().rstrip(".")
            covered = fnmatchcase(asked, name) or fnmatchcase(asked, f"*.{name}")
    except ValueError:
        raise SetupError(
            f"{variable}: {entry!r} is no host name, address or network: correct it or delete it"
        ) from None
    return covered and port in {None, str(url.port or _PORTS.get(url.scheme))}


def _address(text: str) -> _Address | None:
    try:
        return ip_address(re.sub(r"^\[(.*)\]$", r"\1", text))
    except ValueError:
        return None
