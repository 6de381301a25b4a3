"""What is seen is whole: no clipped words, no empty boxes, no strips, on wide and narrow screens."""

import io

import pytest
from PIL import Image

from tests.browser.stage import TRAINED, as_vgg, expect
from tests.browser.test_access import DESKTOP, PHONE, comparing, refused, tab
from tests.browser.test_troubles import give
from tests.conftest import png

WIDTHS = [320, 390, 768, 1280, 1920]


def sized(width):
    return {"width": width, "height": 900}


def draw_vgg(page):
    page.route(f"**/models/{TRAINED}", lambda r: r.fulfill(json=as_vgg(r.fetch().json())))


def picture(mode, size, colour):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_pictures_fill_their_tiles(open_page, width):
    """A sample covers its whole tile, and a thumbnail the whole width of its own, undistorted."""
    page = open_page(viewport=sized(width))
    boxes = """() => [...document.querySelectorAll("#samples button, .past")].map((tile) => {
      const [outer, inner] = [tile, tile.firstChild].map((it) => it.getBoundingClientRect());
      return [tile.className, outer.width - inner.width, outer.height - inner.height];
    })"""

    for kind, wide, high in page.evaluate(boxes):
        assert wide <= (2 if kind else 0)  # a border
        assert kind or high == 0
    fits = "getComputedStyle(document.querySelector('.past canvas')).objectFit"
    assert "cover" == page.evaluate(fits)


def test_a_transparent_thumbnail_has_no_white(open_page):
    """What is transparent in a photo shows the ground of its tile, also on a dark page."""
    page = open_page(scheme="dark")
    give(page, "clear.png", picture("RGBA", (300, 300), (0, 0, 0, 0)))
    page.wait_for_selector("#panel-result .sum")
    page.wait_for_function("document.querySelector('.past canvas').width === 96")

    corner = (
        "[...document.querySelector('.past canvas').getContext('2d').getImageData(9, 9, 1, 1).data]"
    )
    assert [0, 0, 0, 0] == page.evaluate(corner)


BOXES = """
window.empty = new Set();
window.said = new Set();
const boxes = ["#panel-result", "#model", "#live", ...[..."123456"].map((n) => `#samples li:nth-child(${n})`)];
const look = () => {
  const photo = document.getElementById("photo");
  const shown = (it) => it && it.checkVisibility();
  for (const path of [...boxes, ...(shown(photo) && photo.complete ? [] : ["#no-preview"])]) {
    const box = document.querySelector(path);
    if (document.readyState !== "loading" && shown(document.getElementById("stage")) && !(shown(box) && box.textContent.trim())) empty.add(path);
  }
  said.add(document.querySelector("#panel-result p")?.textContent);
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_slow_connection_shows_words(open_page, size):
    """Over 50 kB/s no box is ever empty: until its content is there, it has a word in it."""

    def throttle(page):
        page.add_init_script(BOXES)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Network.enable")
        speed = {"downloadThroughput": 50_000, "uploadThroughput": 50_000}
        conditions = {"offline": False, "latency": 100, **speed}
        devtools.send("Network.emulateNetworkConditions", conditions)

    page = open_page(viewport=size, prepare=throttle)

    assert [] == page.evaluate("[...empty]")
    assert "Loading the page\u2019s scripts\u2026" in page.evaluate("[...said]")
    assert not page.locator("#no-preview").is_visible()


def test_the_words_while_loading_follow_what_is_missing(open_page):
    """The panel says whether models or the first photo are awaited; the photo stays in view."""
    held = []

    def hold(page):
        page.route(
            "**/samples/coffee.jpg",
            lambda r: held.append(r) if r.request.resource_type == "fetch" else r.continue_(),
        )

    page = open_page(prepare=hold, wait=False)
    expect(page.locator("#panel-result")).to_contain_text("Loading the first photo…")

    assert "coffee.jpg" == page.locator("#caption").inner_text()
    assert page.locator("#photo").is_visible()
    page.wait_for_function("document.getElementById('photo').complete")
    held[0].continue_()
    page.wait_for_selector("#panel-result .sum")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_whole_drawing_is_seen(open_page, width):
    """From conv1_1 to fc8, every layer is drawn within the screen, in letters that can be read."""
    page = open_page(viewport=sized(width), prepare=draw_vgg)
    drawing = page.locator("#layers svg:visible")
    drawing.scroll_into_view_if_needed()
    seen = drawing.locator("text").evaluate_all("""(texts) => texts.map((text) => {
      const { left, right, height } = text.getBoundingClientRect();
      return [text.textContent, left >= 0 && right <= innerWidth, height];
    })""")
    names = [name for name, _, _ in seen]

    assert 1 == drawing.count()
    for layer in ("fc6", "fc7", "fc8", "output", "parameters", "multiply-adds", "103"):
        assert layer in names
    assert [] == [name for name, inside, _ in seen if not inside]
    assert min(height for name, _, height in seen if name) >= 9
    box = drawing.locator("xpath=..").evaluate("it => it.scrollWidth - it.clientWidth")
    assert box <= 0


@pytest.mark.parametrize("width", WIDTHS)
def test_code_lines_are_not_clipped(open_page, width):
    """Code and JSON wrap instead of hiding the ends of their lines."""
    page = open_page(viewport=sized(width))
    for name in ("Code", "JSON"):
        tab(name)(page)
        hidden = page.locator("pre:visible").evaluate_all(
            "blocks => blocks.map(block => block.scrollWidth - block.clientWidth)"
        )
        assert [] == [one for one in hidden if one > 0], name


def test_headings_of_the_table_stand_over_their_columns(open_page):
    """A heading is aligned like the cells below it."""
    page = open_page(prepare=draw_vgg)
    page.get_by_text("layers as a table").click()
    aligned = page.locator("#layers table").evaluate("""(table) => [...table.rows[0].cells].map((head, index) =>
      [head, table.rows[1].cells[index]].map((cell) => getComputedStyle(cell).textAlign))""")

    assert [["left", "left"]] * 2 + [["right", "right"]] * 5 == aligned


@pytest.mark.parametrize("width", WIDTHS)
def test_the_card_has_no_empty_end(open_page, width):
    """An answer fills the card to its end."""
    page = open_page(viewport=sized(width))
    rest = page.evaluate("""() => document.getElementById("answer").getBoundingClientRect().bottom
      - document.querySelector("#panel-result .every").getBoundingClientRect().bottom""")

    assert 0 < rest <= 40


@pytest.mark.parametrize("width", WIDTHS)
def test_many_photos_scroll_in_their_own_boxes(open_page, width):
    """The page stays as wide as the screen; tiles and rows that do not fit scroll in their boxes."""
    page = open_page(viewport=sized(width))
    name = f"{'a very long name ' * 9}.png"
    files = [{"name": name, "mimeType": "image/png", "buffer": png()} for _ in range(30)]
    page.locator("#file").set_input_files(files)
    expect(page.locator("#kept")).to_have_text("31 of 31 answered")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rows = page.locator("#rows tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert 1 == len(set(rows))
    caption = page.locator("#caption").evaluate("it => it.scrollHeight - it.clientHeight")
    assert caption <= 0


def test_what_is_refused_fits_over_the_photo(open_page):
    """On the narrowest screen the sentence over the photo and its buttons need no scrolling."""
    page = open_page(viewport=sized(320))
    refused(page)
    over = page.locator("#refused").evaluate("it => it.scrollHeight - it.clientHeight")

    assert over <= 0


def test_a_comparison_fills_the_card_too(open_page):
    """Two answers beside each other end together."""
    page = open_page()
    comparing(page)
    ends = page.evaluate(
        """() => [...document.querySelectorAll(".every")].map((it) => it.getBoundingClientRect().bottom)"""
    )

    assert 2 == len(ends)
    assert abs(ends[0] - ends[1]) < 2
