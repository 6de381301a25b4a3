"""The service behind a real nginx, with the configuration that docs/operations.md explains."""

import httpx
import pytest

from app.client import Client
from tests.conftest import png, running_server
from tests.nginx import nginx
from tests.rolling import roll

pytestmark = pytest.mark.nginx

UNSTRIPPED = ("proxy_pass http://vgg/;", "proxy_pass http://vgg;")


@pytest.fixture
def behind(model_dir, tmp_path):
    """Start one replica and nginx in front of it; return the address and the replica."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    with running_server(model_dir, models="colours", trusted_proxies="127.0.0.1") as server:
        port = int(server.url.rpartition(":")[2])

        def start(*changes):
            return nginx(folder, [port, port], changes)

        yield start


@pytest.mark.parametrize("changes", [(), (UNSTRIPPED,)])
def test_everything_is_behind_the_prefix(behind, changes):
    """The page, a photo, the models, the description and the client, whether nginx strips the prefix or not."""
    with behind(*changes) as url, httpx.Client(timeout=30) as client:
        answers = {
            path: client.get(f"{url}{path}").status_code
            for path in ("/", "/static/style.css", "/static/samples/cat.jpg", "/models", "/healthz")
        }
        photo = client.post(f"{url}/predict", content=png())
        docs = client.get(f"{url}/docs")
        described = client.get(f"{url}/openapi.json").json()
        bare = client.get(url)
        with Client(url) as ours:
            known = [model.name for model in ours.models()]
            answer = ours.classify(png(), top_k=1)

    assert {200} == set(answers.values())
    assert 200 == photo.status_code
    assert [{"url": "/vgg"}] == described["servers"]
    assert "'openapi.json'" in docs.text
    assert '"docs/assets/swagger-ui-bundle.js"' in docs.text
    assert bare.status_code in {301, 308}
    assert bare.headers["location"].endswith("/vgg/")
    assert (["colours"], 0) == (known, answer.predictions[0].class_index)


def test_a_large_upload_gets_the_answer_of_the_service(behind):
    """Nginx lets through what the service takes, and the service says what is too large."""
    bmp = b"BM" + bytes(5_000_000)
    with behind() as url:
        large = httpx.post(f"{url}/predict", content=bmp)
        too_large = httpx.post(f"{url}/predict", content=bytes(60_000_000), timeout=60)
    with behind(("client_max_body_size 64m;", "")) as url:
        by_default = httpx.post(f"{url}/predict", content=bmp)

    assert "/problems/" in large.json()["type"]
    assert (413, "/problems/body-too-large") == (too_large.status_code, too_large.json()["type"])
    assert 413 == by_default.status_code
    assert "text/html" in by_default.headers["content-type"]  # nginx's own


def test_a_rolling_upgrade_loses_no_request(tmp_path):
    """2,000 photos and more while two replicas restart three times: all are answered."""
    counts = roll(tmp_path, rounds=3, photos=2000)

    assert {"200"} == set(counts)
    assert counts.total() >= 2000
