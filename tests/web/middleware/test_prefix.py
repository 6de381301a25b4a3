"""The path at which a proxy shows the service."""

import httpx
import pytest

from app.web.middleware.prefix import clean_prefix
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/vgg", "/vgg"),
        ("/vgg/", "/vgg"),
        ("/a/b.c/~d_-", "/a/b.c/~d_-"),
        ("vgg", None),
        ("//host", None),
        ("//host/vgg", None),
        ("/vgg//", None),
        ("https://host/vgg", None),
        ("/a/../b", None),
        ("/..", None),
        ("/.", None),
        ("/a b", None),
        ("/a\r\nSet-Cookie: x", None),
        ("/a\n", None),
        ('/"><script>', None),
        ("/%2e%2e", None),
        ("/a;b", None),
        ("/ä", None),
        ("/" + "a" * 200, None),
        ("/predict", None),
        ("/static/vgg", None),
        ("/docs", None),
    ],
)
async def test_a_prefix_is_a_plain_path(text, prefix):
    """Anything that means something else in an address, a header or HTML is none."""
    assert prefix == clean_prefix(text)


@pytest.fixture
def service(model_dir, session):
    return lambda **settings: started_app(model_dir, session, **settings)


async def asked(app, path, client=PROXY, **headers):
    """Ask as a proxy would, with X_Forwarded_Prefix and the like."""
    transport = httpx.ASGITransport(app, client=(client, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as one:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await one.get(path, headers=named)


@pytest.mark.parametrize("path", ["/models", "/vgg/models", "/vgg/", "/", "/vgg/healthz"])
async def test_a_proxy_may_strip_the_prefix_or_not(service, path):
    """With VGG_ROOT_PATH both the path of the client and that of the service are known."""
    async with service(root_path="/vgg/") as app:
        answer = await asked(app, path)

    assert 200 == answer.status_code


async def test_a_photo_under_the_prefix_passes_every_limit(service):
    """The limits of /predict hold for /vgg/predict: a doubled prefix is no way around them."""
    async with service(root_path="/vgg", max_body_bytes=1024) as app, client_of(app) as client:
        good = await client.post("/vgg/predict", content=png())
        large = await client.post("/vgg/predict", content=b"x" * 2000)
        doubled = await client.post("/vgg/vgg/predict", content=png())
        beside = await client.post("/vggpredict", content=png())

    assert (200, 413) == (good.status_code, large.status_code)
    assert (404, 404) == (doubled.status_code, beside.status_code)


async def test_the_prefix_without_a_slash_is_redirected(service):
    """Addresses of the page are relative, so it has to end with a slash; no host is named."""
    async with service(root_path="/vgg") as app:
        answer = await asked(app, "/vgg?a=b", Host="evil.example")

    assert (308, "/vgg/?a=b") == (answer.status_code, answer.headers["location"])
    assert "nosniff" == answer.headers["x-content-type-options"]


@pytest.mark.parametrize(
    ("header", "server"),
    [
        ("/vgg", "/vgg"),
        ("/vgg/", "/vgg"),
        ("/a, /b", "/a/b"),
        ("//evil.example", None),
        ("https://evil.example", None),
        ("/" + "a" * 5000, None),
    ],
)
async def test_a_trusted_proxy_names_the_prefix(service, header, server):
    """/openapi.json names the prefix of X-Forwarded-Prefix, if that is one."""
    async with service(trusted_proxies=("10.0.0.0/8",)) as app:
        answer = await asked(app, "/openapi.json", X_Forwarded_Prefix=header)

    assert server == answer.json().get("servers", [{"url": None}])[0]["url"]


@pytest.mark.parametrize("client", ["192.0.2.1", "::1", "not an address", "unix"])
async def test_a_stranger_names_no_prefix(service, client):
    """X-Forwarded-Prefix of anybody else is ignored, whatever X-Forwarded-For says."""
    async with service(trusted_proxies=("10.0.0.0/8",), root_path="/mine") as app:
        answer = await asked(
            *(app, "/openapi.json", client), X_Forwarded_Prefix="/evil", X_Forwarded_For=PROXY
        )

    assert [{"url": "/mine"}] == answer.json()["servers"]


async def test_whoever_comes_through_a_unix_socket_is_trusted_if_it_is_named(service):
    """`unix` among the trusted proxies stands for all of VGG_UDS, whose file says who may connect."""
    async with service(trusted_proxies=("unix", "10.0.0.0/8")) as app:
        answer = await asked(app, "/openapi.json", client="unix", X_Forwarded_Prefix="/vgg")

    assert [{"url": "/vgg"}] == answer.json()["servers"]


async def test_an_unstripped_prefix_of_the_header_is_removed(service):
    """A proxy that only adds the header is understood."""
    async with service(trusted_proxies=(PROXY,)) as app:
        found = await asked(
            app, "/vgg/models", X_Forwarded_Prefix="/vgg", X_Forwarded_For="1.2.3.4"
        )
        bare = await asked(app, "/vgg", X_Forwarded_Prefix="/vgg")

    assert (200, 308) == (found.status_code, bare.status_code)


async def test_without_a_prefix_nothing_is_described(service):
    """The description of a service without a prefix names no server."""
    async with service() as app:
        answer = await asked(app, "/openapi.json", X_Forwarded_Prefix="/vgg")

    assert "servers" not in answer.json()
