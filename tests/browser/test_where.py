"""Where the network looked: a box and heat over the photo for each answer, and why one and not another."""

import io
import re

import httpx
import pytest
from PIL import Image

from tests.browser.stage import TRAINED, expect, noting, pick
from tests.browser.test_access import PHONE
from tests.browser.test_answer import SAMPLES
from tests.browser.test_troubles import FAILED, busy_times, give, problem

ORIENTATION = 0x0112  # in Exif
COFFEE = (SAMPLES / "coffee.jpg").read_bytes()
EDGES = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(autouse=True)
def on_demand(open_page):
    """Let the page move once the part that was asked for is there, however slow this machine is."""
    open_page.watch.still = False


def switch(page):
    page.get_by_label("Where it looked").check()
    page.wait_for_selector(".where b")


def explained(server, more=""):
    """Ask the server itself."""
    url = f"{server}/predict?model={TRAINED}&explain=box,heat,evidence{more}"
    return httpx.post(url, content=COFFEE).raise_for_status().json()


def drawn(page, over="#photo", of=".over .seen"):
    """Return the edges of the box on a picture, as shares of its sides; None if there is none."""
    return page.evaluate(
        """([over, of]) => {
          const box = document.querySelector(of);
          if (!box.checkVisibility()) return null;
          const [it, whole] = [box, document.querySelector(over)].map((one) => one.getBoundingClientRect());
          return [(it.left - whole.left) / whole.width, (it.top - whole.top) / whole.height,
            (it.right - whole.left) / whole.width, (it.bottom - whole.top) / whole.height];
        }""",
        [over, of],
    )


def shares(box, whole):
    """Return the edges of a box as shares of the sides of another, or of an image."""
    left, top = whole.get("xmin", 0), whole.get("ymin", 0)
    width = whole.get("width") or whole["xmax"] - left
    height = whole.get("height") or whole["ymax"] - top
    return [
        (box[edge] - (left, top)[i % 2]) / (width, height)[i % 2] for i, edge in enumerate(EDGES)
    ]


def words(page):
    return page.locator("div.where p").first


def show(page, name):
    """Wait until the words are about a class."""
    expect(words(page)).to_contain_text(f"{name}:")


def names_of(answer):
    return [guess["label"].split(", ")[0] for guess in answer["predictions"]]


def test_nothing_is_asked_before_the_switch(open_page):
    """A plain answer asks for no explanation; with the switch on, one request explains all five."""
    asked: list[str] = []
    page = open_page(prepare=noting("explain", asked))

    assert [] == asked
    switch(page)
    page.locator(".guesses li").nth(2).hover()
    page.locator(".guesses li").nth(4).hover()
    assert 1 == len(asked)


def test_each_answer_has_its_box(open_page, server):
    """The box of the best answer is drawn first; to hover, focus or press another draws its own."""
    answer = explained(server)
    page = open_page()
    switch(page)
    names = names_of(answer)
    rows = page.locator(".guesses li")
    gestures = [
        lambda _: None,
        lambda row: row.hover(),
        lambda row: row.get_by_role("button").focus(),
        lambda row: row.click(),
        lambda _: page.keyboard.press("Tab"),
    ]
    for place, gesture in enumerate(gestures):
        gesture(rows.nth(place))
        show(page, names[place])
        box = answer["predictions"][place]["box"]

        assert (box and pytest.approx(shares(box, answer["image"]), abs=0.005)) == drawn(page)
        pressed = rows.get_by_role("button", pressed=True)
        assert [names[place]] == pressed.all_inner_texts()


def test_a_pointer_that_rests(open_page):
    """Another photo begins with its best answer, even if another answer comes to lie under the pointer."""
    page = open_page()
    switch(page)
    page.locator(".guesses li").nth(2).hover()
    expect(page.locator(".guesses button").nth(2)).to_have_attribute("aria-pressed", "true")
    page.locator("#samples button:has([src*=rocket])").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_contain_text("rocket.jpg")
    page.wait_for_selector("#panel-result .sum")
    show(page, page.locator(".guesses button").first.inner_text())
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    assert "true" == page.locator(".guesses button").first.get_attribute("aria-pressed")


def test_a_tap_on_a_bar(open_page, server):
    """On a phone a tap anywhere on a bar shows its box, and the photo is still in view."""
    answer = explained(server)
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    switch(page)
    page.locator(".guesses .bar").nth(1).scroll_into_view_if_needed()
    bar = page.locator(".guesses .bar").nth(1).bounding_box()
    page.touchscreen.tap(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    show(page, names_of(answer)[1])
    box = answer["predictions"][1]["box"]

    assert (box and pytest.approx(shares(box, answer["image"]), abs=0.01)) == drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for path in ("#stage", ".guesses li:nth-child(2)"):
        seen = page.locator(path).bounding_box()
        assert seen["y"] >= -1
        assert seen["y"] + seen["height"] <= PHONE["height"]


def test_nothing_moves_but_the_box(open_page):
    """From one answer to the next nothing on the page changes its place."""
    page = open_page()
    switch(page)
    page.evaluate("seen.shifts.length = 0")
    for row in page.locator(".guesses li").all():
        row.hover()
        show(page, row.get_by_role("button").inner_text())

    assert [] == page.evaluate("seen.shifts")


def test_the_box_in_words(open_page, server):
    """A sentence says where the box is and how much lies in it; it is announced when a bar is focused."""
    answer = explained(server)
    page = open_page()
    switch(page)
    page.locator(".guesses li").nth(1).get_by_role("button").focus()
    show(page, names_of(answer)[1])
    page.locator(".guesses li").first.get_by_role("button").focus()
    show(page, "espresso")
    text = words(page).inner_text().replace("\u202f", " ")
    best = answer["predictions"][0]
    left, top, right, bottom = (round(100 * edge) for edge in shares(best["box"], answer["image"]))

    assert f"from {left} to {right} % across and from {top} to {bottom} % down" in text
    assert f"{100 * best['evidence_in_box']:.1f} % of the evidence lies in the box." in text
    expect(page.locator("#status")).to_have_text(words(page).text_content())
    how = answer["explanation"]
    assert f"({how['method']} at {how['layer']})" in page.locator("div.where .hint").inner_text()


PLACES = [
    ((0, 0, 100, 100), "nearly the whole photo"),
    ((3, 20, 52, 90), "left half"),
    ((50, 10, 99, 95), "right half"),
    ((0, 0, 100, 40), "upper half"),
    ((5, 60, 30, 90), "lower left"),
    ((60, 5, 90, 45), "upper right"),
    ((30, 30, 70, 70), "the middle"),
    ((48, 47, 52, 49), "the middle"),
    ((48, 5, 53, 30), "upper half"),
    ((40, 0, 70, 100), "the middle, from top to bottom"),
    ((0, 30, 95, 70), "the middle, from side to side"),
]


def test_places_have_names(open_page):
    """A box is named after the part of the photo that it lies in."""
    page = open_page()
    switch(page)
    said = page.evaluate(
        """async (boxes) => {
          const files = performance.getEntriesByType("resource").map(({ name }) => name);
          const { area } = await import(files.find((name) => name.endsWith("/overlay.js")));
          return boxes.map(([xmin, ymin, xmax, ymax]) => area({ xmin, ymin, xmax, ymax }, { width: 100, height: 100 }));
        }""",
        [box for box, _ in PLACES],
    )

    assert [name for _, name in PLACES] == said


def test_the_heat(open_page, server):
    """Heat lies on what the network saw, brightest where the server's is, and the slider fades it."""
    answer = explained(server)
    page = open_page()
    switch(page)
    heat = answer["predictions"][0]["heat"]
    size, brightest = page.locator(".over canvas").evaluate("""(canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const heat = [...Array(data.length / 4).keys()].map((at) => data[4 * at + 3]);
      const at = heat.indexOf(Math.max(...heat));
      return [[canvas.width, canvas.height], [at % canvas.width, Math.floor(at / canvas.width)]];
    }""")
    row, column = divmod(heat["values"].index(max(heat["values"])), heat["columns"])
    where = [brightest[0] * heat["columns"] // size[0], brightest[1] * heat["rows"] // size[1]]
    slider = page.get_by_label("Heat").first
    slider.focus()
    page.keyboard.press("Home")

    assert [column, row] == where
    view = shares(answer["view"], answer["image"])
    assert pytest.approx(view, abs=0.005) == drawn(page, of=".over canvas")
    opacity = "getComputedStyle(document.querySelector('.over canvas')).opacity"
    assert "0" == page.evaluate(opacity)
    page.keyboard.press("End")
    assert "1" == page.evaluate(opacity)


def test_why_this_and_not_that(open_page, server):
    """Against another class the box is the server's; to pick the other turns the question round."""
    plain = explained(server)
    first, second = (guess["class_index"] for guess in plain["predictions"][:2])
    names = names_of(plain)
    page = open_page()
    switch(page)
    pick(page, "Why not", "1")
    show(page, f"Why {names[0]} and not {names[1]}")
    answer = explained(server, f"&against={second}")
    box = answer["predictions"][0]["box"]

    assert (box and pytest.approx(shares(box, answer["image"]), abs=0.005)) == drawn(page)
    page.locator(".guesses li").nth(1).click()
    show(page, f"Why {names[1]} and not {names[0]}")
    answer = explained(server, f"&against={first}")
    box = answer["predictions"][1]["box"]
    assert (box and pytest.approx(shares(box, answer["image"]), abs=0.005)) == drawn(page)
    pick(page, "Why not", "")
    show(page, names[1])


def test_only_what_the_network_sees(open_page, server):
    """Over the cut-out square the box and the heat are where they are in the photo."""
    answer = explained(server)
    page = open_page()
    switch(page)
    page.get_by_label("Only what the network sees").check()
    page.wait_for_selector("#view:visible")

    expected = shares(answer["predictions"][0]["box"], answer["view"])
    assert pytest.approx(expected, abs=0.01) == drawn(page, "#view")


def test_the_switch_stays_on(open_page):
    """The next photo gets its box by itself; switched off, the page is as before and asks nothing."""
    asked: list[str] = []
    page = open_page(prepare=noting("explain", asked))
    plain = page.locator(".guesses").inner_html()
    switch(page)
    page.locator("#samples button:has([src*=cat])").click()
    expect(page.locator("#caption")).to_contain_text("cat.jpg")
    expect(page.locator(".guesses button[aria-pressed=true]")).to_have_count(1)
    page.wait_for_selector(".where b")
    assert 2 == len(asked)
    page.get_by_label("Where it looked").uncheck()
    page.locator("#samples button:has([src*=coffee])").click()
    expect(page.locator("#caption")).to_contain_text("coffee.jpg")
    page.wait_for_selector("#panel-result .sum")

    assert not page.locator(".over").is_visible()
    assert 0 == page.locator("div.where").count()
    assert plain == page.locator(".guesses").inner_html()
    assert 2 == len(asked)


def test_what_cannot_be_explained(open_page):
    """A network that is no VGG has no boxes: the page says so, and asks the server for none."""
    asked: list[str] = []
    page = open_page(prepare=noting("explain", asked))
    pick(page, "Model", "second")
    page.wait_for_selector(".untrained")
    page.get_by_label("Where it looked").check()

    expect(words(page)).to_contain_text("cannot say where it looked: only a VGG can.")
    assert not page.locator(".over").is_visible()
    assert [] == asked


def test_a_box_belongs_to_a_class(open_page, server):
    """If two answers have changed places when their boxes come, each still gets its own."""

    def turn(route):
        said = route.fetch().json()
        said["predictions"].reverse()
        route.fulfill(json=said)

    answer = explained(server)
    page = open_page(prepare=lambda p: p.route("**/predict*explain*", turn))
    switch(page)

    expected = shares(answer["predictions"][0]["box"], answer["image"])
    assert pytest.approx(expected, abs=0.005) == drawn(page)


def test_a_class_without_a_box(open_page):
    """If the server no longer names a class, the page says that the answer is old."""

    def shorten(route):
        said = route.fetch().json()
        del said["predictions"][0]
        route.fulfill(json=said)

    page = open_page(prepare=lambda p: p.route("**/predict*explain*", shorten))
    page.get_by_label("Where it looked").check()

    expect(words(page)).to_contain_text("Send the photo again.")


def test_a_photo_that_the_browser_shows_lying(open_page):
    """Chromium does not turn a WebP upright as the server does: a box would be elsewhere, so there are words alone."""
    file = io.BytesIO()
    with Image.open(SAMPLES / "coffee.jpg") as coffee:
        turned = coffee.getexif()
        turned[ORIENTATION] = 6
        coffee.save(file, "WEBP", exif=turned.tobytes())
    page = open_page()
    switch(page)
    page.get_by_text("What each layer makes of this photo").click()
    page.wait_for_selector(".maps")
    give(page, "turned.webp", file.getvalue(), "image/webp")
    expect(page.locator("#caption")).to_contain_text("turned.webp")
    page.wait_for_selector("#panel-result .sum")
    expect(words(page)).to_contain_text("down")
    page.wait_for_function(
        "() => document.querySelector('.photo > canvas') && !document.querySelector('.lies')"
    )
    expect(page.locator(".beside p")).to_contain_text("down")

    assert not page.locator(".over").is_visible()
    down = re.findall(r"from (\d+) to (\d+)\s% down", page.locator(".beside p").inner_text())
    assert all(int(end) <= 100 for one in down for end in one)
    assert 1 == len(down)


def test_withheld_boxes(open_page):
    """Where the server withholds boxes, its reason is shown and no box."""
    why = "The weights are untrained: where they look means nothing."

    def withhold(route):
        if "explain" not in route.request.url:
            return route.continue_()
        said = route.fetch().json()
        for guess in said["predictions"]:
            guess |= {"box": None, "evidence_in_box": None, "heat": None}
        said["explanation"] |= {"withheld": why}
        return route.fulfill(json=said)

    page = open_page(prepare=lambda p: p.route("**/predict*", withhold))
    page.get_by_label("Where it looked").check()

    expect(words(page)).to_have_text(why)
    assert not page.locator(".over").is_visible()


def test_a_busy_server_is_asked_again(open_page):
    """If the explanation is refused the sentence says why, and another gesture asks again."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    page.route("**/predict*", busy_times(1, retry_after=60))
    page.get_by_label("Where it looked").check()
    expect(words(page)).to_contain_text("Choose an answer to ask again.")
    page.locator(".guesses li").nth(0).hover()

    show(page, "espresso")


def test_beside_another_model(open_page):
    """Where two models are compared, each answer of both is a button."""
    page = open_page()
    pick(page, "Compare with", "second")
    page.wait_for_selector(".verdict[data-agree]")
    switch(page)

    expect(page.locator(".guesses button")).to_have_count(10)
    assert 1 == page.locator(".guesses button[aria-pressed=true]").count()


def test_other_troubles_are_told(open_page):
    """An error of the explanation alone leaves the answer as it is."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    failed = problem("model-failed", 500, retryable=False, detail="The run failed.")
    page.route("**/predict*", lambda r: r.fulfill(**failed))
    page.get_by_label("Where it looked").check()

    expect(words(page)).to_contain_text("The run failed.")
    assert 5 == page.locator(".guesses li").count()
