"""A request takes the proxy that curl would take, and a variable that is wrong is named."""

import httpx
import pytest

from app.outgoing.proxies import is_loopback, proxy_for, unused_proxy
from app.setup_errors import SetupError

HTTP = "http://example.org/x"
HTTPS = "https://example.org/x"


def found(url):
    """Return the variable that counts, and the proxy's address."""
    proxy = proxy_for(httpx.URL(url))
    return proxy and (proxy.variable, proxy.shown)


def test_without_variables_hosts_are_asked_directly():
    """There is no proxy by default."""
    assert None is found(HTTPS)


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({"HTTP_PROXY": "http://a:1"}, HTTP, ("HTTP_PROXY", "http://a:1")),
        ({"HTTP_PROXY": "http://a:1"}, HTTPS, None),
        ({"HTTPS_PROXY": "http://a:1"}, HTTPS, ("HTTPS_PROXY", "http://a:1")),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "x:y"}, HTTPS, ("https_proxy", "http://a:1")),
        ({"https_proxy": "", "HTTPS_PROXY": "http://a:1"}, HTTPS, ("HTTPS_PROXY", "http://a:1")),
        ({"https_proxy": " "}, HTTPS, None),
        ({"ALL_PROXY": "http://a:1"}, HTTP, ("ALL_PROXY", "http://a:1")),
        ({"all_proxy": "http://a:1"}, HTTPS, ("all_proxy", "http://a:1")),
        (
            {"ALL_PROXY": "socks4://b:1", "HTTPS_PROXY": "http://a:1"},
            HTTPS,
            ("HTTPS_PROXY", "http://a:1"),
        ),
    ],
)
def test_variable_that_counts(monkeypatch, variables, url, expected):
    """The one for the scheme counts before ALL_PROXY, lower case first, an empty one not at all."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert expected == found(url)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy"),
        (" http://proxy:3128/ ", "http://proxy:3128"),
        ("https://proxy:3129", "https://proxy:3129"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("user:secret@proxy:3128", "http://proxy:3128"),
        ("http://user:p%40ss%23@proxy:3128", "http://proxy:3128"),
        ("http://DOM%5Cuser:se@cret@proxy:3128", "http://proxy:3128"),
        ("socks5://proxy:1080", "socks5://proxy:1080"),
        ("SOCKS5H://user:secret@proxy:1080", "socks5h://proxy:1080"),
    ],
)
def test_address_of_a_proxy(monkeypatch, value, shown):
    """The scheme may be missing; user and password are kept, and not shown."""
    monkeypatch.setenv("HTTPS_PROXY", value)

    assert ("HTTPS_PROXY", shown) == found(HTTPS)
    assert "se" not in repr(proxy_for(httpx.URL(HTTPS)))


def test_password_is_decoded(monkeypatch):
    """%40 is @."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:p%40ss%23@proxy:3128")

    proxy = proxy_for(httpx.URL(HTTPS))

    assert proxy is not None
    assert ("user", "p@ss#") == (proxy.url.username, proxy.url.password)


@pytest.mark.parametrize(
    "value",
    [
        "http://",
        "http://proxy:port",
        "http://proxy:99999999",
        "http://user:12#secret@proxy:3128",
        "http://user:12/secret@proxy:3128",
        "http://user:12?secret@proxy:3128",
        "gopher://secret:1",
        '"http://secret:3128"',
        "http://secret proxy:3128",
        "://secret",
        "\x7fsecret",
    ],
)
def test_value_that_is_no_address(monkeypatch, value):
    """The variable is named, and how to write it; what may be a password is not shown."""
    monkeypatch.setenv("https_proxy", value)

    with pytest.raises(SetupError, match="https_proxy is not the address of a proxy") as caught:
        found(HTTPS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a"])
def test_other_socks(monkeypatch, scheme):
    """Desktops write socks://; the sentence says what to write instead."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://proxy:1080/")

    with pytest.raises(SetupError, match=r"ALL_PROXY names .*: write socks5://HOST:PORT"):
        found(HTTPS)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("*", HTTPS),
        ("example.org", HTTPS),
        ("EXAMPLE.org.", HTTPS),
        (".example.org", HTTPS),
        ("*.example.org", "https://a.b.example.org/"),
        ("example.org", "https://www.example.org/"),
        ("example.org:443", HTTPS),
        ("example.org:80", HTTP),
        ("example.org:8443", "https://example.org:8443/"),
        ("https://example.org/", HTTPS),
        ("other.org,example.org", HTTPS),
        ("other.org example.org", HTTPS),
        ("other.org, ,example.org,", HTTPS),
        ("localhost", "http://localhost:8000/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.1.2.3/8", "http://10.1.2.3/"),
        ("10.*", "http://10.1.2.3/"),
        ("::1", "http://[::1]:8080/"),
        ("[::1]", "http://[::1]:8080/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("0:0:0:0:0:0:0:1", "http://[::1]/"),
        ("fd00::/8", "http://[fd12:3456::1]/"),
        ("[fd00::]/8", "http://[fd12:3456::1]/"),
        ("fe80::/10,FD00::/8", "http://[fd12:3456::1]/"),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_hosts_without_a_proxy(monkeypatch, variable, entry, url):
    """Names, addresses and networks of both families, each with a port or for all."""
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    monkeypatch.setenv(variable, entry)

    assert None is found(url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("ample.org", HTTPS),
        ("www.example.org", HTTPS),
        ("example.org:8443", HTTPS),
        ("10.0.0.0/8", "http://11.1.2.3/"),
        ("10.0.0.0/8", "http://10.example.org/"),
        ("10.1.2.3", "http://a.10.1.2.3.example/"),
        ("[::1]:8080", "http://[::1]:8081/"),
        ("::1", "http://127.0.0.1/"),
        ("fd00::/8", "http://[fe80::1]/"),
        ("fd00::/8", HTTPS),
        ("0.0.0.0/0", "http://[::1]/"),
    ],
)
def test_hosts_with_a_proxy(monkeypatch, entry, url):
    """What no entry covers takes the proxy."""
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    monkeypatch.setenv("NO_PROXY", entry)

    assert ("ALL_PROXY", "http://a:1") == found(url)


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "fd00::/129", "a/b", "[::1", "a:b", "<local>", "a..b", ":", "a b/8"]
)
def test_entry_that_is_nothing(monkeypatch, entry):
    """It is named, also where another entry covers the host."""
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    monkeypatch.setenv("no_proxy", f"example.org,{entry}")

    with pytest.raises(SetupError, match=r"no_proxy: '.*' is no host name, address or network"):
        found(HTTPS)


def test_entries_matter_with_a_proxy_only(monkeypatch):
    """A list that exempts from nothing is not read."""
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/33")

    assert None is found(HTTPS)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.9.9.9", True), ("[::1]", True), ("10.0.0.1", False), ("a", False)],
)
def test_loopback(host, expected):
    """This machine has names and addresses."""
    assert expected is is_loopback(httpx.URL(f"http://{host}/"))


def test_proxy_that_is_not_asked_is_mentioned(monkeypatch):
    """The benchmark asks directly: a proxy would be measured, too."""
    monkeypatch.setenv("HTTP_PROXY", "me:secret@proxy:3128")

    assert "not through the proxy of HTTP_PROXY (http://proxy:3128)" in unused_proxy(HTTP)
    assert "" == unused_proxy("http://127.0.0.1:8000/predict")
    assert "" == unused_proxy(HTTPS)
