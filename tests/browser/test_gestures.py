"""Every way in for a photo."""

import base64

import pytest

from tests.browser.stage import expect
from tests.conftest import png

ANSWERS = "#session .past b"
DATA_URL = "data:image/png;base64," + base64.b64encode(png()).decode()


def named(page, name):
    """Wait for the answer to a photo with that name."""
    expect(page.locator("#caption")).to_contain_text(name)
    page.wait_for_selector("#panel-result .sum")


def test_drop_anywhere(open_page, hand, photo):
    """A file that is dragged over the page shows where to drop it; dropped, it is classified."""
    page = open_page()
    file = ("dropped.jpg", "image/jpeg", photo.read_bytes())
    hand(page, file, type="dragenter dragover")
    assert "Drop it" in page.locator("#drop").inner_text()
    hand(page, file, type="dragleave")
    assert not page.locator("#drop").is_visible()
    hand(page, file)

    named(page, "dropped.jpg")
    assert not page.locator("#drop").is_visible()


def test_text_that_is_dragged_is_left_alone(open_page, hand):
    """The page ignores selected text that is dragged."""
    page = open_page()
    hand(page, texts={"text/plain": "only text"}, type="dragenter dragover")

    assert not page.locator("#drop").is_visible()


def test_choose(open_page, photo):
    """The button opens the browser's file chooser, which takes several files."""
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photos").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files(photo)

    named(page, "coffee.jpg")


def test_several_files_make_a_strip(open_page):
    """Each of several files is classified; the first is shown, all are in the strip."""
    page = open_page()
    files = [
        {"name": f"{number}.png", "mimeType": "image/png", "buffer": png(colour)}
        for number, colour in enumerate(["red", "green", "blue"] * 3)
    ]
    page.locator("#file").set_input_files(files)

    expect(page.locator(ANSWERS)).to_have_count(10)
    named(page, "0.png")


def test_the_same_file_can_be_chosen_twice(open_page, photo):
    """Choosing a file again classifies it again."""
    page = open_page()
    for count in (2, 3):
        page.locator("#file").set_input_files(photo)
        expect(page.locator(ANSWERS)).to_have_count(count)


def test_paste_a_file(open_page, hand, photo):
    """A photo pasted anywhere is classified."""
    page = open_page()
    hand(page, ("pasted.jpg", "image/jpeg", photo.read_bytes()), type="paste")

    named(page, "pasted.jpg")


CLIPBOARD = """async (address) => {
  const blob = await (await fetch(address)).blob();
  await navigator.clipboard.write([new ClipboardItem({ [blob.type]: blob })]);
}"""


def test_paste_from_the_clipboard(open_page):
    """A picture in the system's clipboard comes in by Ctrl+V and by the button."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(CLIPBOARD, DATA_URL)
    page.locator("body").press("Control+V")
    expect(page.locator(ANSWERS)).to_have_count(2)
    page.get_by_role("button", name="Paste").click()
    expect(page.locator(ANSWERS)).to_have_count(3)

    named(page, "pasted photo")


def test_paste_of_no_picture(open_page):
    """Pasting no picture says what to do instead, and leaves the answer in place."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('just text')")
    page.get_by_role("button", name="Paste").click()
    refused = page.locator("#refused")
    expect(refused).to_contain_text("The clipboard holds no picture")
    page.locator("body").press("Control+V")
    expect(refused).to_contain_text("It is text.")
    expect(page.locator("#status")).to_contain_text("It is text.")
    assert page.locator("#panel-result .sum").is_visible()
    refused.get_by_role("button", name="Close").click()

    assert page.locator("#photo").is_visible()
    assert not refused.is_visible()


def test_writing_into_a_field_is_not_a_photo(open_page):
    """Text pasted into the search field stays text."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('cat')")
    page.get_by_text("All 202 classes").click()
    page.get_by_label("Search by name").press("Control+V")

    assert "cat" == page.get_by_label("Search by name").input_value()
    assert page.locator("#panel-result .sum").is_visible()


def test_a_picture_dragged_by_its_address(open_page, hand, server):
    """A picture dragged as a data: address or an address of this server is classified."""
    page = open_page()
    hand(page, texts={"text/uri-list": DATA_URL})
    named(page, "dragged photo")
    hand(page, texts={"text/uri-list": f"# a comment\r\n{server}/static/samples/rocket.jpg\r\n"})
    named(page, "rocket.jpg")


def test_a_sample_dragged_with_the_mouse(open_page):
    """Dragging a sample with the mouse classifies it."""
    page = open_page()
    box = page.locator("#samples img[src*=rocket]").bounding_box()
    x, y = box["x"] + 20, box["y"] + 20
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(x + 20 * step, y - 20 * step)
    page.mouse.up()

    expect(page.locator(ANSWERS)).to_have_count(2)
    named(page, "rocket.jpg")


def test_a_picture_of_another_site_is_not_asked_for(open_page, hand):
    """A picture of another site is not fetched, and the page says what to do instead."""
    page = open_page()
    hand(page, texts={"text/uri-list": "https://example.org/cat.jpg"})

    panel = page.locator("#refused")
    expect(panel).to_contain_text("address was dropped")
    expect(panel.get_by_role("button", name="Choose another photo")).to_be_visible()
    assert "Copy the picture itself" in panel.inner_text()


def test_camera(open_page):
    """A click opens the camera; its photo is classified and the camera is switched off."""
    page = open_page(permissions=["camera"])
    page.get_by_role("button", name="Camera").click()
    shoot = page.get_by_role("button", name="Take the photo")
    expect(shoot).to_be_enabled()
    shoot.click()

    named(page, "camera.jpg")
    assert page.evaluate("document.getElementById('video').srcObject === null")


GRANT_LATE = """
window.grants = [];
window.stopped = [];
navigator.mediaDevices.getUserMedia = () => new Promise((resolve) => {
  const number = grants.length;
  grants.push(() => resolve({ getTracks: () => [{ stop: () => stopped.push(number) }] }));
});
"""


def test_camera_granted_late(open_page):
    """A camera granted after its dialog was closed is switched off, even if another is open."""
    page = open_page(prepare=lambda p: p.add_init_script(GRANT_LATE))
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Camera").click()
    page.evaluate("grants[0]()")
    page.wait_for_function("stopped.length")

    assert [0] == page.evaluate("stopped")
    assert page.evaluate("document.getElementById('video').srcObject === null")
    assert page.locator("#camera-trouble").text_content() == ""


def test_camera_refused(open_page):
    """If no camera may be used, the dialog says so and Escape closes it."""
    page = open_page()
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#camera-trouble")).to_contain_text("No camera is available")
    page.keyboard.press("Escape")

    assert not page.locator("#camera-dialog").is_visible()


def test_sideways_photos_are_shown_upright(open_page, tmp_path):
    """A photo that EXIF turns is framed and measured upright."""
    from PIL import Image  # noqa: PLC0415

    path = tmp_path / "sideways.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200), "green").save(path, exif=exif)
    page = open_page()
    page.locator("#file").set_input_files(path)
    named(page, "sideways.jpg")

    assert "200 \u00d7 300" in page.locator("#caption").inner_text()
    assert "200 \u00d7 300 JPEG" in page.locator("#panel-result").inner_text()
    box = page.locator("#photo").bounding_box()
    assert pytest.approx(200 / 300, abs=0.02) == box["width"] / box["height"]
