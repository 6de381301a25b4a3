"""Behind a proxy that removes a prefix, the page, its files and its form work."""

import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.stage import expect
from tests.browser.test_troubles import give
from tests.conftest import PHOTOS, png

DROPPED = {"connection", "transfer-encoding", "keep-alive"}


@contextmanager
def proxy(server, prefix):
    """Pass what is below a prefix on to a server, and answer 404 to everything else."""
    host, port = server.removeprefix("http://").split(":")
    strays = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if not self.path.startswith(f"{prefix}/"):
                strays.append(self.path)
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = HTTPConnection(host, int(port))
            headers = dict(self.headers) | {"X-Forwarded-Prefix": prefix}
            upstream.request(self.command, self.path.removeprefix(prefix), body, headers)
            reply = upstream.getresponse()
            content = reply.read()
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in DROPPED:
                    self.send_header(name, value)
            if "content-length" not in {name.lower() for name, _ in reply.getheaders()}:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            upstream.close()

        do_POST = do_GET  # noqa: N815 (http.server's name)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", strays
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["/vgg", "/a/deep er/prefix".replace(" ", "%20")])
def behind(server, request):
    with proxy(server, request.param) as (url, strays):
        yield url, request.param, strays


def test_the_page_works_behind_a_prefix(open_page, behind):
    """Nothing is asked outside of the prefix: page, samples, models, answers, code."""
    url, prefix, strays = behind
    page = open_page(f"{prefix}/", of=url)
    page.locator("#samples button").last.click()
    expect(page.locator("#session .past b")).to_have_count(2)
    give(page, "red.png", png())
    expect(page.locator("#session .past b")).to_have_count(3)
    expect(page.locator("#live")).to_contain_text("ready · cpu")
    page.get_by_role("tab", name="Code").click()
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")

    code = page.locator("#panel-code").inner_text()
    assert f"{url}{prefix}/predict?model=" in code
    assert f'"{url}{prefix}/hf/' in code
    assert f'InferenceServerClient("{url}{prefix}")'.replace("http://", "") in code
    assert f"{url}{prefix}/docs" == page.get_by_role("link", name="API").evaluate("it => it.href")
    assert [] == [one for one in loaded if not one.startswith((f"{url}{prefix}/", "blob:"))]
    assert [] == strays


def test_the_form_works_behind_a_prefix(open_page, behind):
    """Without scripts the form's answer has its style and links back to the page."""
    url, prefix, strays = behind
    page = open_page(f"{prefix}/", of=url, java_script_enabled=False, wait=False)
    page.locator("#file").set_input_files(PHOTOS / "coffee.jpg")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("ol li")).to_have_count(5)
    assert "grid" == page.locator("main").evaluate("it => getComputedStyle(it).display")
    page.get_by_role("link", name="Classify another photo").click()

    expect(page.get_by_role("button", name="Classify")).to_be_visible()
    assert f"{url}{prefix}/" == page.url
    assert [] == strays
