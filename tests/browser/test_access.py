"""Everyone can use the page: WCAG 2.2 AA, the keyboard, small and large screens, no scripts."""

import base64

import pytest

from tests.browser.stage import as_vgg, expect, pick
from tests.browser.test_troubles import FAILED, HEIC, busy_times, give
from tests.conftest import PHOTOS, png

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def violations(page):
    """Return what axe objects to on a page."""
    from axe_playwright_python.sync_playwright import (  # type: ignore[import-untyped] # noqa: PLC0415
        Axe,
    )

    options = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def hold(page):
    page.route("**/predict*", lambda _: None, times=1)


def loading(page):
    change = {"state": "loading", "progress": "fetching, 120 of 553 MB", "device": None}
    page.route("**/models/*", lambda r: r.fulfill(json=r.fetch().json() | change))


def dragging(page):
    page.evaluate("document.getElementById('drop').hidden = false")


def failing(page):
    give(page, "photo.heic", HEIC, "image/heic")
    expect(page.locator(".trouble")).to_be_visible()


def comparing(page):
    pick(page, "Compare with", "second")
    page.wait_for_selector(".verdict[data-agree]")


def offline(page):
    page.context.set_offline(True)
    give(page, "red.png", png())
    expect(page.locator("#live")).to_contain_text("offline")
    expect(page.locator(".trouble")).to_be_visible()


def refused(page):
    page.evaluate("""() => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", "no picture");
      document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData }));
    }""")
    expect(page.locator("#refused")).to_contain_text("It is text.")


def failed(page):
    change = {"state": "failed"}
    page.route("**/models/second", lambda r: r.fulfill(json=r.fetch().json() | change))


def tab(name):
    return lambda page: page.get_by_role("tab", name=name).click()


def every(page):
    page.get_by_text("All 202 classes").click()
    page.wait_for_selector(".every ol li")
    # axe takes seconds for a thousand rows that are alike.
    page.evaluate(
        "document.querySelectorAll('.every li:nth-child(n + 40)').forEach(row => row.remove())"
    )


def camera(page):
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#camera-trouble")).not_to_be_empty()


def waiting(page):
    hold(page)
    give(page, "red.png", png())
    expect(page.locator(".waiting")).to_be_visible()


def busy(page):
    page.route("**/predict*", busy_times(1, retry_after=60))
    give(page, "red.png", png())
    expect(page.get_by_role("timer")).to_be_visible()


def drawn(page):
    page.get_by_text("layers as a table").click()


def family(page):
    page.get_by_text("why small kernels?").click()
    page.wait_for_selector(".family")


def where(page):
    page.get_by_label("Where it looked").check()
    page.wait_for_selector(".where b")


def inside(page):
    page.get_by_text("What each layer makes of this photo").click()
    page.wait_for_selector(".maps")


def vgg(page):
    page.route("**/models/second", lambda r: r.fulfill(json=as_vgg(r.fetch().json())))


# State: (before the page is opened, after its answer is there or None if there is none)
STATES = {
    "answer": (None, lambda _: None),
    "json": (None, tab("JSON")),
    "code": (None, tab("Code")),
    "every class": (None, every),
    "crop alone": (None, lambda page: page.get_by_label("Only what").check()),
    "cleared": (None, lambda page: page.get_by_role("button", name="Clear").click()),
    "comparison, untrained": (None, comparing),
    "layers": (vgg, drawn),
    "family": (None, family),
    "where": (None, where),
    "inside": (None, inside),
    "dragging": (None, dragging),
    "waiting": (None, waiting),
    "error": (None, failing),
    "refused": (None, refused),
    "failed model": (failed, lambda page: pick(page, "Model", "second")),
    "busy": (None, busy),
    "offline": (None, offline),
    "camera": (None, camera),
    "loading": (loading, None),
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(open_page, state):
    """Axe finds no violation in this state, in either theme, on a desktop or a phone."""
    open_page.watch.allowed.append(FAILED)
    open_page.watch.still = False  # the window changes its size
    prepare, then = STATES[state]
    page = open_page(prepare=prepare, wait=then is not None)
    if then:
        then(page)
    else:
        expect(page.get_by_role("progressbar")).to_be_visible()
    for scheme in ("light", "dark"):
        for size in (DESKTOP, PHONE):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size(size)
            assert [] == violations(page), (scheme, size)


def test_the_keyboard_reaches_everything(open_page):
    """Tab reaches every control in visual order, and the focused control is outlined."""
    page = open_page()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate("""() => {
          const { activeElement: it } = document;
          if (it === document.body) return ["", false];
          const shown = it.id === "file" ? it.nextElementSibling : it;
          return [it.id || it.firstChild?.alt || it.textContent.trim(), getComputedStyle(shown).outlineStyle !== "none"];
        }""")
        if not name or name in reached:
            break
        assert outlined, name
        reached.append(name)

    expected = [
        "Skip to the answer",
        "The network",
        "API",
        "theme",
        "only-crop",
        "where",
        "file",
        "camera",
        "paste",
    ]
    assert expected == reached[:9]
    for name in (
        "tab-result",
        "panel-result",
        "All 202 classes",
        "Cat",
        "Clock, blurred",
        "clear",
    ):
        assert name in reached, name


def test_everything_by_keyboard(open_page):
    """Tabs, samples, the file chooser and the history work without a mouse."""
    page = open_page()
    page.locator("#tab-result").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-json")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#panel-code")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-result")).to_be_visible()
    page.locator("#samples button:has([src*=rocket])").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#session .past b")).to_have_count(2)
    assert "Rocket" == page.evaluate("document.activeElement.firstChild.alt")
    page.locator("#session button").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_contain_text("coffee.jpg")
    assert "true" == page.evaluate("document.activeElement.getAttribute('aria-current')")
    with page.expect_file_chooser():
        page.locator("#file").press("Space")


def test_focus_is_not_lost(open_page):
    """A button that disappears when pressed leaves the focus on the answer's panel."""
    page = open_page()
    hold(page)
    give(page, "red.png", png())
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel-result")).to_contain_text("Cancelled.")

    assert "panel-result" == page.evaluate("document.activeElement.id")


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 3840])
def test_nothing_is_cut_off(open_page, width):
    """Nothing scrolls sideways, from 320 pixels (1280 at 400 % zoom) to 4K."""
    page = open_page(viewport={"width": width, "height": 800}, prepare=vgg)
    comparing(page)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [] == page.evaluate("""() => [...document.querySelectorAll("main :not(.scroll *, pre *, .hidden, .others, .file)")]
      .filter((it) => it.clientWidth && it.scrollWidth > it.clientWidth + 1 && !it.matches(".scroll, pre"))
      .map((it) => it.id || it.className || it.tagName)""")


def test_a_phone_sees_the_answer_without_scrolling(open_page):
    """On a phone the first class and its probability fit on the first screen."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    box = page.locator(".guesses li").first.bounding_box()

    assert box["y"] + box["height"] <= PHONE["height"]


def test_targets_are_large_enough(open_page):
    """Targets have at least 24 pixels each way (WCAG 2.5.8), buttons 44."""
    page = open_page(viewport=PHONE)
    small = page.evaluate("""() => [...document.querySelectorAll("button, select, a, label, summary")]
      .filter((it) => it.checkVisibility({ visibilityProperty: true }) && !it.matches(".skip"))
      .map((it) => [it, it.getBoundingClientRect()])
      .filter(([it, { width, height }]) => Math.min(width, height) < (it.matches("button, select") ? 43.5 : 23.5))
      .map(([it]) => it.outerHTML.slice(0, 80))""")

    assert [] == small


def test_text_can_be_spaced_out(open_page):
    """With the spacing of WCAG 1.4.12 nothing overlaps or is cut off."""
    page = open_page()
    page.evaluate("""() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync("* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important; } p { margin-bottom: 2em !important; }");
      document.adoptedStyleSheets = [sheet];
    }""")
    open_page.watch.still = False

    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_reduced_motion(open_page):
    """Nothing moves for a person who asked for reduced motion."""
    page = open_page(reduced_motion="reduce")
    waiting(page)

    assert "none" == page.evaluate(
        "getComputedStyle(document.querySelector('.waiting'), '::before').animationName"
    )


def test_forced_colours(open_page):
    """In forced colours the bars, their legend and the selected tab can still be seen."""
    page = open_page(forced_colors="active")
    bar, tab = page.evaluate("""() => [".bar", "[aria-selected=true]"].map((path) =>
      getComputedStyle(document.querySelector(path)).outlineStyle)""")

    assert "solid" == bar == tab
    filled = page.evaluate("""() => {
      const { backgroundColor, backgroundImage } = getComputedStyle(document.querySelector(".fill"));
      return backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none";
    }""")
    assert filled
    pairs = page.evaluate("""() => ["transfer", "decode", "queue", "run", "rank"].map((name) => [
      getComputedStyle(document.querySelector(`.stack .${name}`)).backgroundColor,
      getComputedStyle(document.querySelector(`.key.${name}`), "::before").color])""")
    assert all(bar == key for bar, key in pairs)
    assert 5 == len({key for _, key in pairs})


def test_without_scripts(open_page):
    """Without scripts the form posts; an answer and an error are pages that link back."""
    open_page.watch.allowed.append(FAILED)
    page = open_page(java_script_enabled=False, wait=False)
    assert not page.locator("#answer").is_visible()
    assert not page.locator("a[href^='#']:visible").count()
    page.locator("#file").set_input_files(PHOTOS / "coffee.jpg")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("ol li")).to_have_count(5)
    assert "add up to" in page.locator("main").inner_text()
    page.get_by_role("link", name="Classify another photo").click()
    page.locator("#file").set_input_files(
        {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}
    )
    page.get_by_role("button", name="Classify").click()

    expect(page.get_by_role("alert")).to_contain_text("PDF is not supported")


def test_a_script_that_does_not_come(open_page):
    """If a module is missing, the plain form works and says that scripts are not running."""
    open_page.watch.allowed.append(FAILED)
    page = open_page(prepare=lambda p: p.route("**/js/format.js", lambda r: r.abort()), wait=False)
    expect(page.get_by_text("scripts are not running")).to_be_visible()
    page.locator("#file").set_input_files(PHOTOS / "coffee.jpg")
    page.get_by_role("button", name="Classify").click()

    expect(page.locator("ol li")).to_have_count(5)


def test_a_comparison_wastes_no_space(open_page):
    """Two models are close together on a phone; on a desktop their names are not cut off."""
    page = open_page(viewport=PHONE)
    comparing(page)
    gaps = page.evaluate("""() => [...document.querySelectorAll(".column")].map((it) =>
      it.getBoundingClientRect().bottom - it.lastChild.getBoundingClientRect().bottom)""")
    page.set_viewport_size(DESKTOP)
    widths = page.evaluate("""() => [...document.querySelectorAll("select")].map((it) => {
      const context = document.createElement("canvas").getContext("2d");
      context.font = getComputedStyle(it).font;
      return it.clientWidth - context.measureText("against VGG-16, configuration D").width;
    })""")
    open_page.watch.still = False  # the window changes its size

    assert max(gaps) < 32
    assert min(widths) > 32


SUBMIT = """(base64) => {
  const form = document.querySelector("form");
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], "red.png"));
  form.file.files = transfer.files;
  form.submit();
}"""


def test_the_page_without_scripts_passes_axe(open_page):
    """Axe finds no violation in the HTML answer."""
    page = open_page()
    with page.expect_navigation():
        page.evaluate(SUBMIT, base64.b64encode(png()).decode())

    assert [] == violations(page)
