"""Every failure has a sentence and a next step."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.errors import RequestError, ServiceError
from tests.browser.conftest import LIMIT
from tests.browser.stage import expect, pick
from tests.conftest import png

FAILED = "Failed to load resource"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="60"><rect width="80" height="60" fill="red"/></svg>'


def titles(kind):
    """The titles of all problems of a kind, by their slug."""
    return {kind.slug: kind.title} | {
        slug: title for one in kind.__subclasses__() for slug, title in titles(one).items()
    }


TITLES = titles(RequestError) | titles(ServiceError)


def title_of(slug):
    return TITLES.get(slug, "A new kind of problem")


def panel(page):
    return page.locator("#panel-result")


def problem(slug, status=503, *, retryable=True, retry_after=None, detail="Because of the test."):
    """Return a problem of the server as arguments of route.fulfill."""
    body = {
        "type": f"/problems/{slug}",
        "title": title_of(slug),
        "status": status,
        "detail": detail,
    }
    body |= {"request_id": "abc123", "retryable": retryable}
    headers = {"content-type": "application/problem+json"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    return {"status": status, "headers": headers, "body": json.dumps(body)}


def noise(width, height):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def give(page, name, data, kind="image/png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})


def busy_times(times, **fields):
    """Return a route that answers with a problem a few times, then lets requests through."""
    left = [times]

    def route(route):
        if left[0] > 0:
            left[0] -= 1
            route.fulfill(**problem("overloaded", **fields))
        else:
            route.continue_()

    return route


def test_too_large_is_shrunk_and_sent(open_page):
    """For a file above the limit the page shows both sizes, and offers to send a smaller copy."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    data = noise(400, 300)
    assert len(data) > LIMIT
    give(page, "large.png", data)
    expect(panel(page)).to_contain_text(
        f"This file has {len(data) / 1000:.0f}\u202fkB; the limit is 300\u202fkB"
    )
    panel(page).get_by_role("button", name="Send a smaller JPEG copy").click()

    page.wait_for_selector("#panel-result .sum")
    assert "400 \u00d7 300 JPEG" in panel(page).inner_text()
    assert "copy of" in page.locator("#caption").inner_text()
    page.get_by_role("tab", name="Code").click()
    assert "@large-copy.jpg" in page.locator("#panel-code code").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="large-copy.jpg").click()
    with Image.open(download.value.path()) as copy:
        assert ("JPEG", (400, 300)) == (copy.format, copy.size)


def test_a_connection_closed_in_the_middle_of_a_large_file(open_page):
    """If the connection closes during a large upload, a smaller copy is the first advice."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    page.route("**/predict*", lambda route: route.abort("connectionreset"))
    give(page, "huge.png", noise(800, 600))
    expect(panel(page)).to_contain_text("The connection was closed while the file was sent")
    page.unroute("**/predict*")

    expect(panel(page).get_by_role("button", name="Send a smaller JPEG copy")).to_be_visible()


def test_heic(open_page):
    """For HEIC the page shows the server's sentence and offers no copy that it cannot make."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    give(page, "IMG_0001.HEIC", HEIC, "image/heic")
    said = httpx.post(f"{open_page.watch.origin}/predict", content=HEIC).json()

    expect(panel(page)).to_contain_text(said["detail"])
    assert said["title"] in panel(page).inner_text()
    assert not panel(page).get_by_role("button", name="JPEG copy").is_visible()
    expect(page.locator("#no-preview")).to_be_visible()
    assert "no answer" in page.locator("#session li").first.inner_text()


def test_svg_is_a_drawing_that_can_be_converted(open_page):
    """An SVG, which the server does not read, is sent as a JPEG on request."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    give(page, "drawing.svg", SVG, "image/svg+xml")
    expect(panel(page)).to_contain_text(TITLES["unsupported-format"])
    panel(page).get_by_role("button", name="Send a smaller JPEG copy").click()

    page.wait_for_selector("#panel-result .sum")
    assert "80 \u00d7 60 JPEG" in panel(page).inner_text()


def test_pdf_is_a_document(open_page):
    """A PDF is named as what it is; another photo can be chosen at once."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    give(page, "paper.pdf", b"%PDF-1.7\n" + b"0" * 200, "application/pdf")
    expect(panel(page)).to_contain_text("PDF")

    with page.expect_file_chooser():
        panel(page).get_by_role("button", name="Choose another photo").click()


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("cut.jpg", lambda photo: photo.read_bytes()[:9000], "is incomplete"),
        ("tiny.png", lambda _: png(size=(4, 4)), "the minimum is 8 pixels per side"),
        ("wide.png", lambda _: png(size=(17_000, 9)), "the limit is 16384 pixels per side"),
    ],
)
def test_422_has_the_servers_sentence(open_page, photo, name, make, says):
    """The server's sentence about an unusable photo is shown and announced."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    give(page, name, make(photo))

    expect(panel(page)).to_contain_text(says)
    expect(page.locator("#status")).to_contain_text(says)


def test_busy_counts_down_and_tries_once(open_page):
    """When the server is busy, the page counts Retry-After down and sends the photo again."""
    open_page.watch.allowed.append(FAILED)
    page = open_page(
        prepare=lambda p: p.route("**/predict*", busy_times(1, retry_after=2)), wait=False
    )
    timer = panel(page).get_by_role("timer")
    expect(timer).to_contain_text("Trying again in 2 s")
    expect(page.locator("#status")).to_contain_text("Trying again in 2 seconds")
    expect(timer).to_contain_text("Trying again in 1 s")

    page.wait_for_selector("#panel-result .sum")


def test_busy_twice_is_left_to_the_person(open_page):
    """After one automatic retry the page sends nothing more until a button is pressed."""
    open_page.watch.allowed.append(FAILED)
    asked = []

    def prepare(page):
        page.route("**/predict*", busy_times(2, retry_after=1))
        page.on("request", lambda r: asked.append(r.url) if "/predict" in r.url else None)

    page = open_page(prepare=prepare, wait=False)
    panel(page).get_by_role("button", name="Try now").click()
    expect(panel(page)).to_contain_text("The page asked twice.")
    page.wait_for_timeout(1500)
    assert 2 == len(asked)
    panel(page).get_by_role("button", name="Try again").click()

    page.wait_for_selector("#panel-result .sum")


@pytest.mark.parametrize(
    ("slug", "status", "step"),
    [
        ("deadline-exceeded", 504, "Try again"),
        ("draining", 503, "Try again"),
        ("model-failed", 503, "Try again"),
        ("run-failed", 500, "Try again"),
        ("unknown-model", 404, "Reload the page"),
        ("an-error-of-next-year", 422, "Choose another photo"),
        ("a-failure-of-next-year", 500, "Try again"),
    ],
)
def test_problems_of_the_server(open_page, slug, status, step):
    """Each problem has the server's title and detail and a next step, even one added next year."""
    open_page.watch.allowed.append(FAILED)
    answer = problem(slug, status, retryable=status in {503, 504}, retry_after=1)
    page = open_page(
        prepare=lambda p: p.route("**/predict*", lambda r: r.fulfill(**answer)), wait=False
    )
    if status in {503, 504}:
        panel(page).get_by_role("button", name="Try now").click()

    expect(panel(page).get_by_role("button", name=step)).to_be_visible()
    for part in (f"{title_of(slug)}.", "Because of the test."):
        assert part in panel(page).inner_text()
    assert (status == 500) == ("Request ID: abc123." in panel(page).inner_text())
    assert step == panel(page).get_by_role("button").first.inner_text()


def test_a_proxys_own_error_page(open_page):
    """An error without problem+json, such as a proxy's, is explained by its status."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    answer = {"status": 413, "body": "<html><h1>413 Request Entity Too Large</h1>"}
    page.route("**/predict*", lambda route: route.fulfill(**answer))
    give(page, "red.png", png())

    expect(panel(page)).to_contain_text("the limit is lower")


def test_offline_and_back(open_page):
    """The page says that it is offline, and sends the photo once it is connected."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    page.context.set_offline(True)
    give(page, "red.png", png())
    expect(panel(page)).to_contain_text("You are offline.")
    expect(page.locator("#live")).to_contain_text("offline")
    page.context.set_offline(False)

    page.wait_for_selector("#panel-result .sum")
    expect(page.locator("#live")).to_contain_text("ready")


def test_no_server(open_page):
    """The page says that the server cannot be reached, and offers to try again."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    page.route("**/predict*", lambda route: route.abort("connectionrefused"))
    give(page, "red.png", png())
    expect(panel(page)).to_contain_text("No connection to the server.")
    page.unroute("**/predict*")
    panel(page).get_by_role("button", name="Try again").click()

    page.wait_for_selector("#panel-result .sum")


def test_no_server_at_the_start(open_page):
    """A page whose server disappears right after loading says so and can recover."""
    open_page.watch.allowed.append(FAILED)
    page = open_page(prepare=lambda p: p.route("**/models", lambda r: r.abort()), wait=False)
    expect(panel(page)).to_contain_text("No connection to the server.")
    page.unroute("**/models")
    panel(page).get_by_role("button", name="Try again").click()

    page.wait_for_selector("#panel-result .sum")


def test_loading_shows_progress_and_ends_by_itself(open_page):
    """While a model loads, only /readyz is asked for progress; then the sample is classified."""
    open_page.watch.allowed.append(FAILED)
    steps = ["fetching, 119 of 553 MB", "fetching, 120 of 553 MB", "building"]
    asked = []

    def readiness(route):
        if steps:
            route.fulfill(**problem("not-ready", detail=f"Not ready yet. first: {steps[0]}."))
        else:
            route.continue_()

    def describe(route):
        asked.append(route.request.url)
        change = {"state": "loading", "progress": steps[0], "device": None} if steps else {}
        route.fulfill(json=route.fetch().json() | change)

    def prepare(page):
        page.route("**/models/*", describe)
        page.route("**/readyz", readiness)

    page = open_page(prepare=prepare, wait=False)
    expect(panel(page)).to_contain_text(steps[0])
    steps.pop(0)
    expect(panel(page)).to_contain_text(steps[0])
    expect(panel(page).get_by_role("progressbar")).to_be_visible()
    assert len(set(asked)) == len(asked)  # each model once
    steps.pop(0)
    expect(panel(page)).to_contain_text(steps[0])
    steps.clear()

    page.wait_for_selector("#panel-result .sum")


def test_waiting_can_be_cancelled(open_page):
    """A slow answer can be cancelled with a button or Escape, and tried again."""
    page = open_page()
    held: list[Any] = []
    page.route("**/predict*", lambda route: held.append(route))  # noqa: PLW0108 (it inspects it)
    give(page, "red.png", png())
    expect(panel(page)).to_contain_text("Sending, 0 %")
    panel(page).get_by_role("button", name="Cancel").click()
    expect(panel(page)).to_contain_text("Cancelled.")
    panel(page).get_by_role("button", name="Try again").click()
    expect(panel(page)).to_contain_text("Sending, 0 %")
    page.keyboard.press("Escape")
    expect(panel(page)).to_contain_text("Cancelled.")
    page.unroute("**/predict*")
    panel(page).get_by_role("button", name="Try again").click()

    page.wait_for_selector("#panel-result .sum")
    assert 2 == len(held)


def test_slow_network_shows_how_much_is_sent(open_page):
    """On a slow connection the page shows the share that is sent, and nothing shifts."""
    page = open_page()
    devtools = page.context.new_cdp_session(page)
    slow = {
        "offline": False,
        "latency": 100,
        "downloadThroughput": 100_000,
        "uploadThroughput": 60_000,
    }
    devtools.send("Network.emulateNetworkConditions", slow)
    give(page, "noise.png", noise(300, 220))
    expect(panel(page)).to_contain_text("Sending, ")

    page.wait_for_selector("#panel-result .sum")


def test_a_late_answer_does_not_replace_a_newer_photo(open_page):
    """A late answer to an earlier photo does not replace the newer one."""
    page = open_page()
    held: list[Any] = []
    page.route("**/predict*", lambda r: held.append(r) if len(held) < 1 else r.continue_())
    give(page, "first.png", png("red"))
    expect(panel(page)).to_contain_text("Sending, 0 %")
    give(page, "second.png", png("blue"))
    page.wait_for_selector("#panel-result .sum")
    before = panel(page).inner_text()
    held[0].continue_()
    expect(page.locator("#session .past b")).to_have_count(3)

    assert before == panel(page).inner_text()
    assert "second.png" in page.locator("#caption").inner_text()


def test_a_server_that_loads_again_is_not_busy(open_page):
    """If the model loads again, its progress is shown, and then the photo is answered."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    state = {"state": "loading", "progress": "fetching, 120 of 553 MB", "device": None}
    page.route("**/models/*", lambda r: r.fulfill(json=r.fetch().json() | state))
    standing = problem("not-ready", detail="Not ready yet. first: fetching, 120 of 553 MB.")
    page.route("**/readyz", lambda route: route.fulfill(**standing))
    answer = problem("not-ready", retry_after=60)
    page.route("**/predict*", lambda route: route.fulfill(**answer))
    give(page, "red.png", png())
    expect(panel(page)).to_contain_text("fetching, 120 of 553 MB")
    expect(page.locator("#live")).to_contain_text("0 of 3 ready")
    for path in ("**/predict*", "**/models/*", "**/readyz"):
        page.unroute(path)

    page.wait_for_selector("#panel-result .sum")
    expect(page.locator("#live")).to_contain_text("ready · cpu")


def test_a_server_that_comes_back(open_page):
    """When the server returns, the photo is sent, to another model if the first is gone."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    models = page.request.get(f"{open_page.watch.origin}/models").json()["models"]
    first, second = (one["name"] for one in models[:2])
    for path in ("**/readyz", "**/models**", "**/predict*"):
        page.route(path, lambda route: route.abort("connectionrefused"))
    give(page, "red.png", png())
    expect(panel(page)).to_contain_text("No connection to the server.")
    expect(page.locator("#live")).to_contain_text("no connection")
    gone = problem("unknown-model", 404, retryable=False)
    page.route(f"**/predict?model={first}", lambda route: route.fulfill(**gone))

    page.route("**/models", lambda route: route.fulfill(json={"models": models[1:2]}))
    for path in ("**/predict*", "**/models**", "**/readyz"):
        page.unroute(path)

    page.wait_for_selector("#panel-result .untrained")
    page.wait_for_selector("#panel-result .sum")
    assert second == page.get_by_label("Model", exact=True).input_value()
    assert not page.get_by_label("Compare with").is_visible()


def test_a_server_that_does_not_answer(open_page):
    """A server that accepts connections but never answers is reported as lost."""
    patient = "const { timeout } = AbortSignal; AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 100);"

    def prepare(page):
        page.add_init_script(patient)
        page.route("**/readyz", lambda _: None)

    page = open_page(prepare=prepare)

    expect(page.locator("#live")).to_contain_text("no connection")


def test_a_model_that_failed(open_page):
    """The page says that a model failed to load and offers the others."""

    def failed(route):
        route.fulfill(json=route.fetch().json() | {"state": "failed"})

    page = open_page(prepare=lambda p: p.route("**/models/second", failed))
    expect(page.locator("#live")).to_contain_text("2 of 3 ready")
    pick(page, "Model", "second")
    expect(panel(page)).to_contain_text("is not available.")
    panel(page).get_by_role("button", name="Ask").first.click()

    page.wait_for_selector("#panel-result .sum")


def test_a_file_that_is_gone(open_page, tmp_path):
    """A deleted file and a dropped folder are named as what they are."""
    open_page.watch.allowed.append(FAILED)
    path = tmp_path / "gone.png"
    path.write_bytes(png())
    page = open_page()
    page.route("**/predict*", lambda _: None)
    page.locator("#file").set_input_files(path)
    panel(page).get_by_role("button", name="Cancel").click()
    path.unlink()
    page.unroute("**/predict*")
    panel(page).get_by_role("button", name="Try again").click()
    expect(panel(page)).to_contain_text("The file can no longer be read.")
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 300, "y": 300, "data": data}
        devtools.send("Input.dispatchDragEvent", event)

    expect(page.locator("#refused")).to_contain_text("It is a folder.")


def test_the_photo_that_is_looked_at_waits_for_no_other(open_page):
    """A new photo is sent before those that wait, which are marked as waiting."""
    page = open_page()
    held: list[Any] = []
    page.route("**/predict*", lambda r: held.append(r) if len(held) < 5 else r.continue_())
    files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png()} for n in range(9)]
    page.locator("#file").set_input_files(files)
    expect(page.locator("#session")).to_contain_text("waiting")
    assert 4 == len(held)
    give(page, "new.png", png("blue"))
    expect(panel(page)).to_contain_text("Sending, 0 %")
    assert 5 == len(held)
    held[4].continue_()
    page.wait_for_selector("#panel-result .sum")
    assert "waiting" in page.locator("#session").inner_text()
    for route in held[:4]:
        route.continue_()

    expect(page.locator("#session .past b")).to_have_count(11)
