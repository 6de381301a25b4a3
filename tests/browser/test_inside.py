"""What each layer makes of the photo: sheets of maps, what their strongest values see, the first filters."""

from typing import Any

import httpx
import pytest

from tests.browser.stage import TRAINED, expect, noting, pick
from tests.browser.test_access import PHONE
from tests.browser.test_answer import SAMPLES
from tests.browser.test_keys import KEY, LINE
from tests.browser.test_layout import picture
from tests.browser.test_troubles import FAILED, give, problem
from tests.conftest import running_server

TITLE = "What each layer makes of this photo"
COFFEE = (SAMPLES / "coffee.jpg").read_bytes()
WIDTH, HEIGHT = 520, 347  # of the coffee


@pytest.fixture(autouse=True)
def on_demand(open_page):
    """Let the page move once the part that was asked for is there, however slow this machine is."""
    open_page.watch.still = False


def opened(page):
    page.get_by_text(TITLE).click()
    page.wait_for_selector(".maps")


def inspected(server, more=""):
    """Ask the server itself."""
    url = f"{server}/inspect?model={TRAINED}{more}"
    return httpx.post(url, content=COFFEE, timeout=60).raise_for_status().json()


def seen(page):
    """Return the edges of the receptive field in pixels of the photo."""
    return page.evaluate(
        """([width, height]) => {
          const [it, whole] = [".lies .seen", ".photo > canvas"].map((path) => document.querySelector(path).getBoundingClientRect());
          return [width * (it.left - whole.left) / whole.width, height * (it.top - whole.top) / whole.height,
            width * (it.right - whole.left) / whole.width, height * (it.bottom - whole.top) / whole.height];
        }""",
        [WIDTH, HEIGHT],
    )


def field(one):
    return pytest.approx(
        [one["receptive_field"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")], abs=1.5
    )


def test_a_sheet_for_each_group(open_page, server):
    """Opened, the section shows the maps that the server sends, strongest first, group by group."""
    asked: list[str] = []
    page = open_page(prepare=noting("inspect?", asked))
    assert [] == asked
    opened(page)
    layers = inspected(server)["layers"]
    sheets = page.locator(".sheet").all()

    assert 1 == len(asked)
    assert [layer["layer"] for layer in layers] == [
        sheet.locator("select").input_value() for sheet in sheets
    ]
    for sheet, layer in zip(sheets, layers, strict=True):
        names = sheet.locator(".maps button").evaluate_all("all => all.map((it) => it.ariaLabel)")
        assert [f"Channel {one['channel']}" for one in layer["maps"]] == names


def test_a_map_has_its_own_picture(open_page):
    """The tiles of a sheet differ: each button shows its part of the picture."""
    page = open_page()
    opened(page)
    pictures = (
        page.locator(".sheet")
        .nth(1)
        .locator("canvas")
        .evaluate_all("all => all.map((it) => it.toDataURL())")
    )

    assert len(pictures) == len(set(pictures))


def test_a_click_shows_what_a_map_sees(open_page, server):
    """A click on a map draws the receptive field of its strongest value on the photo, and says where."""
    page = open_page()
    opened(page)
    for group, place in ((0, 3), (2, 5), (4, 1)):
        layer = inspected(server)["layers"][group]
        one = layer["maps"][place]
        page.locator(".sheet").nth(group).locator(".maps button").nth(place).click()
        words = page.locator(".beside p")

        expect(words).to_contain_text(f"{layer['layer']}, channel {one['channel']}: strongest ")
        assert field(one) == seen(page)
        assert "across and from" in words.inner_text()
        assert 1 == page.locator(".maps [aria-pressed=true]").count()


def test_maps_by_keyboard(open_page, server):
    """Tab enters a sheet once, the arrows, Home and End move in it, and Enter shows a map."""
    page = open_page()
    opened(page)
    maps = inspected(server)["layers"][1]["maps"]
    sheet = page.locator(".sheet").nth(1)
    sheet.locator("select").focus()
    page.keyboard.press("Tab")
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 2),
        ("End", -1),
        ("ArrowRight", 0),
        ("ArrowLeft", -1),
        ("Home", 0),
        ("ArrowRight", 1),
    ):
        page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.ariaLabel")
        assert f"Channel {maps[place]['channel']}" == focused, key
    page.keyboard.press("Enter")

    assert field(maps[1]) == seen(page)
    page.keyboard.press("Tab")
    assert "Layer of group 3" == page.evaluate("document.activeElement.ariaLabel")


def test_another_layer_of_a_group(open_page, server):
    """Each group's list shows another of its layers; the others stay."""
    page = open_page()
    opened(page)
    layer = inspected(server, "&layer=conv3_1")
    page.get_by_label("Layer of group 3").select_option("conv3_1")
    third = page.locator(".sheet").nth(2)
    expect(third.locator(".maps button").first).to_have_attribute(
        "aria-label", f"Channel {layer['maps'][0]['channel']}"
    )
    third.locator(".maps button").first.click()

    assert "conv3_1" == third.locator("select").input_value()
    assert field(layer["maps"][0]) == seen(page)
    assert "conv4_3" == page.get_by_label("Layer of group 4").input_value()


def test_layers_by_keyboard(open_page):
    """A list keeps the focus when its layer has come, and of two that are chosen at once the second is shown."""
    page = open_page()
    opened(page)
    held: list[Any] = []
    page.route("**/inspect*layer*", lambda r: held.append(r))  # noqa: PLW0108 (Playwright marks it)
    third = page.locator(".sheet").nth(2)
    third.locator("select").focus()
    for count in (1, 2):
        page.keyboard.press("ArrowUp")
        while len(held) < count:
            page.wait_for_timeout(20)
    for route in reversed(held):
        with page.expect_response("**/inspect*"):
            route.continue_()
    expect(third.locator("ul")).to_have_attribute("aria-label", "Maps of conv3_1")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")

    assert "Layer of group 3" == page.evaluate("document.activeElement.ariaLabel")
    expect(third.locator("select")).to_have_value("conv3_1")
    expect(third.locator("ul")).to_have_attribute("aria-label", "Maps of conv3_1")


def test_the_filters(open_page):
    """The filters of the first layer are shown and counted."""
    page = open_page()
    opened(page)
    picture = page.get_by_role("img", name="The 24 filters of conv1_1")
    picture.scroll_into_view_if_needed()

    assert picture.evaluate("(it) => it.decode().then(() => it.naturalWidth)") > 0


def test_another_photo(open_page):
    """Another photo is looked into by itself while the section is open, and not once it is closed."""
    asked: list[str] = []
    page = open_page(prepare=noting("inspect?", asked))
    opened(page)
    before = page.locator(".maps canvas").first.evaluate("it => it.toDataURL()")
    page.locator("#samples button:has([src*=rocket])").click()
    expect(page.locator("#caption")).to_contain_text("rocket.jpg")
    page.wait_for_function(
        "() => document.querySelectorAll('.sheet').length === 5 && !document.querySelector('.groups > p')"
    )
    page.wait_for_function(
        "(before) => document.querySelector('.maps canvas').toDataURL() !== before", arg=before
    )
    page.get_by_text(TITLE).click()
    page.locator("#samples button:has([src*=cat])").click()
    expect(page.locator("#caption")).to_contain_text("cat.jpg")
    page.wait_for_selector("#panel-result .sum")

    assert 2 == len(asked)


def test_what_is_no_vgg(open_page):
    """Another network than a VGG is not asked for: the page says why."""
    page = open_page()
    pick(page, "Model", "second")
    page.wait_for_selector(".untrained")
    page.get_by_text(TITLE).click()

    expect(page.locator(".groups")).to_contain_text("is not a VGG")


def test_untrained_maps_are_called_so(open_page):
    """The maps of untrained weights come from random filters, and the page says so."""

    def untrained(route):
        route.fulfill(json=route.fetch().json() | {"trained": False})

    page = open_page(prepare=lambda p: p.route(f"**/models/{TRAINED}", untrained))
    opened(page)

    expect(page.locator(".groups > p").first).to_contain_text("random filters")


def test_a_refusal(open_page):
    """If the server refuses, its sentence is shown with a button that asks again."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    busy = problem("overloaded", detail="Another photo is being looked into.")
    page.route("**/inspect*", lambda r: r.fulfill(**busy), times=1)
    page.get_by_text(TITLE).click()
    expect(page.locator(".groups")).to_contain_text("Another photo is being looked into.")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".maps")


HASTY = """{
  const usual = AbortSignal.timeout;
  AbortSignal.timeout = (ms) => usual.call(AbortSignal, window.hasty ? ms / 300 : ms);
}"""


def test_a_slow_upload(open_page):
    """A photo may take longer than a question without one, which is given up after 15 seconds."""
    page = open_page(prepare=lambda p: p.add_init_script(HASTY))
    page.evaluate("window.hasty = true")  # 15 seconds are 50 ms
    held: list[Any] = []
    page.route("**/inspect*", lambda r: held.append(r))  # noqa: PLW0108 (Playwright marks it)
    page.get_by_text(TITLE).click()
    while not held:
        page.wait_for_timeout(20)
    page.wait_for_timeout(200)
    page.evaluate("window.hasty = false")
    held[0].continue_()

    page.wait_for_selector(".maps")


def test_a_layer_that_does_not_come(open_page):
    """If another layer is refused, the list goes back to the one that is shown."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    opened(page)
    page.route("**/inspect*layer*", lambda r: r.fulfill(**problem("overloaded")))
    page.get_by_label("Layer of group 3").select_option("conv3_2")

    expect(page.locator(".beside p")).to_have_text("Because of the test.")
    expect(page.get_by_label("Layer of group 3")).to_have_value("conv3_3")


def test_switched_off(open_page, tmp_path):
    """Where the operator switched it off, the page says so in the server's words."""
    open_page.watch.allowed.append(FAILED)
    with running_server(tmp_path, models=TRAINED, inspect="false") as server:
        page = open_page(of=server.url)
        page.get_by_text(TITLE).click()

        expect(page.locator(".groups p")).not_to_contain_text("Looking")
        expect(page.locator(".groups p")).to_contain_text("VGG_INSPECT")


def test_it_fits_on_a_phone(open_page):
    """On a phone nothing scrolls sideways, maps are large enough for a finger, and the photo stays in view."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    opened(page)
    last = page.locator(".maps button").last
    last.tap()
    box = last.bounding_box()
    photo = page.locator(".photo").bounding_box()

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert min(box["width"], box["height"]) >= 44
    assert photo["y"] >= 0
    assert photo["y"] + photo["height"] <= box["y"]


def test_a_tall_photo(open_page):
    """A photo in portrait leaves room for the maps, undistorted."""
    page = open_page(viewport=PHONE)
    opened(page)
    give(page, "tall.png", picture("RGB", (100, 400), "red"))
    expect(page.locator("#caption")).to_contain_text("tall.png")
    page.wait_for_function("() => document.querySelector('.photo > canvas')?.height === 400")
    photo = page.locator(".photo").bounding_box()

    assert pytest.approx(4 * photo["width"], abs=4) == photo["height"]
    assert photo["height"] <= PHONE["height"] / 2


def test_with_a_key(open_page, tmp_path):
    """Where the server asks for a key, it goes with the photo."""
    open_page.watch.allowed.append(FAILED)
    (tmp_path / "keys").write_text(f"{LINE}\n")
    with running_server(tmp_path, models=TRAINED, api_keys_file=str(tmp_path / "keys")) as server:
        page = open_page(of=server.url, wait=False)
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#panel-result .sum")
        opened(page)

        assert 5 == page.locator(".sheet").count()
        assert page.locator("img.filters").count() == 1
