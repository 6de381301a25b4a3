"""Input only ever becomes text, and the page contacts no other site."""

from http.client import HTTPConnection

import httpx
import pytest

from app.web.page.files import STATIC
from tests.browser.stage import HOSTILE_LABEL, expect, pick
from tests.conftest import png

HOSTILE_NAME = """<img src=x onerror="document.title='owned'">'"&amp;.png"""
CODE = {"css", "js", "svg"}


def test_a_hostile_file_name_stays_text(open_page, hand):
    """Markup in the name of a file is shown as it is, wherever the name is shown."""
    page = open_page()
    hand(page, (HOSTILE_NAME, "image/png", png()))
    expect(page.locator("#session .past b")).to_have_count(2)

    assert HOSTILE_NAME in page.locator("#caption").text_content()
    assert HOSTILE_NAME in page.locator("#session").text_content()
    assert f"Your picture: {HOSTILE_NAME}" == page.locator("#photo").get_attribute("alt")
    assert 0 == page.locator("img[src=x]").count()
    assert "owned" != page.title()


def test_hostile_labels_stay_text(open_page):
    """Markup in the labels of a model is shown as it is, in every view and in the strip."""
    open_page.watch.still = False  # such names are longer than any real one
    page = open_page()
    pick(page, "Model", "hostile")
    page.wait_for_selector("#panel-result .untrained + .column .sum")
    page.get_by_text("All 1000 classes").click()
    page.wait_for_selector(".every ol li")
    first = HOSTILE_LABEL.split(", ")[0]

    for place in ("#panel-result .guesses", "#status", "#session", ".every ol"):
        assert first in page.locator(place).text_content(), place
    assert "A <b>hostile</b> one" in page.locator(".untrained").text_content()
    assert 0 == page.locator("img[src=x], .untrained b").count()
    assert "owned" != page.title()


def test_the_policy_holds(open_page):
    """The policy stops a foreign script even if one gets into the page."""
    open_page.watch.allowed += ["Content Security Policy", "TrustedHTML", "Trusted"]
    page = open_page()
    policy = httpx.get(page.url).headers["content-security-policy"]
    blocked = page.evaluate("""async () => {
      try { document.body.innerHTML = "<p>"; return "parsed"; } catch { }
      const script = document.createElement("script");
      try { script.textContent = "document.title = 'owned'"; } catch { return "blocked"; }
      document.head.append(script);
      return "ran";
    }""")
    page.evaluate("seen.violations = []")

    assert "blocked" == blocked
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy


def test_no_code_is_in_the_markup():
    """No inline script, style or handler, no address of another site, and no parser of HTML."""
    html = (STATIC / "index.html").read_text()
    scripts = "".join(path.read_text() for path in STATIC.rglob("*.js"))

    for word in ("style=", "<style", "onclick=", "javascript:", "https://", "http://"):
        assert word not in html
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert word not in scripts
    assert "https://" not in scripts


def test_the_page_is_light(open_page):
    """The page, its scripts and its style are sent as less than 34 kB before the first answer."""
    page = open_page()
    paths = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    mine = {page.url, *(path for path in paths if path.rpartition(".")[2] in CODE)}
    answers = [httpx.get(path) for path in mine]

    first = {path.name for path in STATIC.rglob("*.js") if path.parent.name != "later"}
    assert first == {path.rpartition("/")[2] for path in mine if path.endswith(".js")}
    assert sum(int(answer.headers["content-length"]) for answer in answers) < 34_000


def test_files_are_kept_as_long_as_they_are_the_same(server):
    """A browser revalidates the page each time and keeps its versioned files."""
    page = httpx.get(server)
    again = httpx.get(server, headers={"If-None-Match": page.headers["etag"]})
    script = page.text.split('type="module" src="')[1].split('"')[0]
    kept = httpx.get(f"{server}/{script}")
    old = httpx.get(f"{server}/static/v-000000000000/js/page.js")
    plain = httpx.get(f"{server}/static/js/page.js")

    assert 304 == again.status_code
    assert b"" == again.content
    assert "no-cache" == page.headers["cache-control"]
    assert "immutable" in kept.headers["cache-control"]
    assert kept.content == old.content == plain.content
    assert "no-cache" == old.headers["cache-control"] == plain.headers["cache-control"]
    assert 404 == httpx.get(f"{server}/static/v-000000000000/v-000000000000/style.css").status_code


@pytest.mark.parametrize(
    "path", ["../routes.py", "%2e%2e/routes.py", "v-000000000000/../../routes.py"]
)
def test_nothing_else_is_served(server, path):
    """Only the folder of the page can be read."""
    host, port = server.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port))  # sends the path as it is
    connection.request("GET", f"/static/{path}")

    assert 404 == connection.getresponse().status
    connection.close()


def test_every_module_is_announced(server):
    """The Link header names every module of the first view, and each exists."""
    links = httpx.get(server).headers["link"].split(", ")
    paths = [link.split(">")[0].removeprefix("<") for link in links]

    assert {path.name for path in (STATIC / "js").glob("*.js")} == {
        path.rpartition("/")[2] for path in paths
    }
    assert all(httpx.get(f"{server}/{path}").status_code == 200 for path in paths)


def test_the_largest_upload_is_told(open_page):
    """The page shows the size limit of an upload."""
    page = open_page()

    assert "up to 300" in page.locator("#formats").inner_text()
