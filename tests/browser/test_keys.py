"""A server that asks for API keys can be used from the page, and the key stays in its memory."""

import pytest

from app.web.keys import make_key
from tests.browser.stage import expect
from tests.browser.test_access import violations
from tests.browser.test_answer import HASTE
from tests.browser.test_troubles import FAILED, give
from tests.conftest import png, running_server

KEY, LINE = make_key("alice")
SEEN = """() => ({
  stored: JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
  markup: document.documentElement.outerHTML,
  fields: [...document.querySelectorAll("input, textarea")].map((field) => field.value),
  addresses: performance.getEntries().map((entry) => entry.name),
  history: [location.href, JSON.stringify(history.state)],
})"""


@pytest.fixture(scope="module")
def locked(colours):
    """The address of a server that asks for keys."""
    (colours / "keys").write_text(f"{LINE}\n")
    with running_server(colours, models="colours", api_keys_file=str(colours / "keys")) as server:
        yield server.url


def enter(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")


def test_the_page_asks_for_a_key_and_uses_it(open_page, locked):
    """Nothing is sent without a key; with one, the photo is answered, as are those that follow."""
    sent = []

    def prepare(page):
        page.on("request", lambda r: sent.append(r) if "/predict" in r.url else None)

    page = open_page(of=locked, prepare=prepare, wait=False)
    expect(page.locator("#panel-result")).to_contain_text("This server needs an API key.")
    expect(page.locator("#status")).to_contain_text("This server needs an API key.")
    expect(page.locator("#live")).to_have_text("ready · cpu · key missing")
    assert [] == sent
    enter(page, f" {KEY} ")
    page.wait_for_selector("#panel-result .sum")
    expect(page.locator("#live[data-state=ready]")).to_have_text("ready · cpu")
    give(page, "red.png", png())
    expect(page.locator("#session .past b")).to_have_count(2)

    assert [f"Bearer {KEY}"] * 2 == [request.headers["authorization"] for request in sent]


def test_a_wrong_key_has_the_servers_sentence(open_page, locked):
    """A key that the server refuses is called wrong beside the field; the next one is tried."""
    open_page.watch.allowed.append(FAILED)
    open_page.watch.still = False  # the sentence is new
    page = open_page(of=locked, wait=False)
    with page.expect_response("**/predict*") as refused:
        enter(page, "wrong")
    field = page.get_by_label("API key")
    expect(page.locator("#key-state")).to_have_text(refused.value.json()["detail"])
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#live")).to_have_text("ready · cpu · key wrong")
    assert [] == violations(page)
    enter(page, KEY)
    page.wait_for_selector("#panel-result .sum")

    expect(field).to_have_attribute("aria-invalid", "false")
    expect(page.locator("#key-state")).to_contain_text("The page has a key.")


def test_the_key_is_only_in_memory(open_page, locked):
    """The key is in no storage, cookie, address, field or markup, and is gone after a reload."""
    page = open_page(of=locked, wait=False)
    enter(page, KEY)
    page.wait_for_selector("#panel-result .sum")
    page.get_by_role("tab", name="Code").click()
    seen = page.evaluate(SEEN)
    assert [] == [place for place, text in seen.items() if KEY in str(text)]
    assert [] == page.context.cookies()
    assert (4, 5) == tuple(seen["markup"].count(one) for one in ("Bearer YOUR_KEY", "YOUR_KEY"))
    assert "memory of this tab" in page.locator("#key-help").inner_text()
    page.reload()

    expect(page.locator("#live")).to_have_text("ready · cpu · key missing")


def test_the_key_field_can_be_used_by_everyone(open_page, locked):
    """The field is reached with Tab, has a name and a description, and axe finds nothing."""
    page = open_page(of=locked, wait=False)
    expect(page.locator("#panel-result")).to_contain_text("This server needs an API key.")
    page.locator("#paste").focus()
    page.keyboard.press("Tab")

    assert "key" == page.evaluate("document.activeElement.id")
    expect(page.get_by_label("API key")).to_have_accessible_description(
        "Kept in the memory of this tab until you close or reload it."
    )
    assert [] == violations(page)


def test_no_browser_offers_to_save_the_key(open_page, locked):
    """The field hides the key but is no password; nothing is completed or spell-checked."""
    page = open_page(of=locked, wait=False)
    field = page.get_by_label("API key")
    expect(field).to_have_css("-webkit-text-security", "disc")

    assert ["text", "off", False] == field.evaluate(
        "(field) => [field.type, field.autocomplete, field.spellcheck]"
    )


def test_a_missing_key_does_not_make_the_page_restless(open_page, locked):
    """Without a key the page looks as rarely as with one, and draws nothing again."""
    asked = []

    def prepare(page):
        page.add_init_script(HASTE)
        page.on("request", lambda request: asked.append(request.url.removeprefix(locked)))

    page = open_page(of=locked, prepare=prepare, wait=False)
    expect(page.locator("#live")).to_have_text("ready · cpu · key missing")
    page.evaluate("window.before = document.querySelector('#panel-result .notice')")
    page.wait_for_function("() => pauses.length > 4")

    assert [5000, 10_000, 20_000, 30_000, 30_000] == page.evaluate("pauses.slice(0, 5)")
    assert 1 == asked.count("/models") == asked.count("/models/colours")
    assert page.evaluate("before.isConnected")


def test_without_keys_there_is_no_field(open_page):
    """A server without keys shows no field for one, and its code has no header for it."""
    page = open_page()

    assert 0 == page.locator("#access").count()
    assert "Authorization" not in page.locator("#panel-code").text_content()
