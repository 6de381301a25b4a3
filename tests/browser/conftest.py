"""A browser, a running server, and a watched page: whatever the page does wrong fails the test."""

import base64
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser.stage import CHROMIUM, launched, write_models
from tests.conftest import PHOTOS, running_server

WATCH = """
window.seen = { shifts: [], violations: [] };
new PerformanceObserver((list) => {
  const name = ({ node }) => node?.id || node?.className || node?.parentElement?.className || node?.nodeName;
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput && entry.value > 0.0001) // below: scroll positions are rounded
      window.seen.shifts.push(`${entry.value.toFixed(4)} ${entry.sources.map(name)}`);
}).observe({ type: "layout-shift", buffered: true });
document.addEventListener("securitypolicyviolation", (event) => {
  window.seen.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""
LIMIT = 300_000  # bytes; of the tests' server, so that no test needs a large file


def _missing():
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is not there (Debian: apt-get install chromium)"
    wanted = ("playwright", "axe_playwright_python")
    gone = [name for name in wanted if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(gone)}" if gone else None


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder, run them last, and skip them where they cannot run.

    Last, because Playwright's event loop runs in this thread from its first test on, and no
    other can run beside it.
    """
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    items[:] = [item for item in items if item not in here] + here
    reason = _missing()
    for item in here:
        item.add_marker(pytest.mark.browser)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server with three models; see stage.write_models."""
    folder = tmp_path_factory.mktemp("page-models")
    names = write_models(folder)
    with running_server(folder, models=names, max_body_bytes=str(LIMIT)) as server:
        for _ in range(1, len(names.split(","))):
            server.wait_for("ready after")
        yield server.url


@dataclass
class Watch:
    """What a page did wrong.

    `allowed` are parts of messages in the console that a test provokes; `still` says that
    nothing may move by itself.
    """

    origin: str
    allowed: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    still: bool = True

    def follow(self, page):
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self._request(request.url))

    def _note(self, kind, text):
        if kind in {"error", "warning"} and not any(part in text for part in self.allowed):
            self.messages.append(f"{kind}: {text}")

    def _request(self, url):
        if not url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.strangers.append(url)


@pytest.fixture
def open_page(browser, server):
    """Open the page of a server in its own context, and watch it to the end of the test."""
    opened = []
    watch = Watch(server)

    def opener(path="/", *, of=server, prepare=None, wait=True, scheme="light", **options):
        watch.origin = of
        options = {"viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(color_scheme=scheme, **options)
        context.set_default_timeout(10_000)
        context.add_init_script(WATCH)
        page = context.new_page()
        opened.append((context, page))
        watch.follow(page)
        if prepare:
            prepare(page)
        page.goto(of + path)
        if wait:
            page.wait_for_selector("#panel-result .sum")
        return page

    open_page: Any = opener
    open_page.watch = watch
    yield open_page
    seen = []
    for context, page in opened:
        if not page.is_closed() and page.evaluate("typeof seen") == "object":
            seen.append(page.evaluate("seen"))
        # A page that polls may be in the middle of a route, which would fail in the next test.
        page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert [] == watch.messages
    assert [] == watch.strangers
    assert [] == [violation for one in seen for violation in one["violations"]]
    if watch.still:
        assert [] == [shift for one in seen for shift in one["shifts"]]


@pytest.fixture
def photo():
    """The path of a photo that is not the sample."""
    return PHOTOS / "coffee.jpg"


DROP = """
({ files, texts, type }) => {
  const transfer = new DataTransfer();
  for (const { name, kind, base64 } of files) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: kind }));
  }
  for (const [kind, text] of Object.entries(texts)) transfer.setData(kind, text);
  const options = { bubbles: true, cancelable: true };
  if (type === "paste") document.body.dispatchEvent(new ClipboardEvent(type, { ...options, clipboardData: transfer }));
  else for (const name of type.split(" ")) document.body.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: transfer }));
}
"""


@pytest.fixture
def hand():
    """Drag files or texts over a page, drop them there, or paste them."""

    def hand(page, *files, texts=None, type="dragenter dragover drop"):  # noqa: A002
        packed = [
            {"name": name, "kind": kind, "base64": base64.b64encode(data).decode()}
            for name, kind, data in files
        ]
        page.evaluate(DROP, {"files": packed, "texts": texts or {}, "type": type})

    return hand
