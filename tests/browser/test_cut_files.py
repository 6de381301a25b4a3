"""A copy of a file that is cut off says what is missing: browsers show such files without a word."""

import io
import re

import pytest
from PIL import Image

from tests.browser.conftest import LIMIT
from tests.browser.stage import expect
from tests.browser.test_many import rows_of, saved
from tests.browser.test_troubles import FAILED, give
from tests.conftest import PHOTOS

COPY = "Send a smaller JPEG copy"
FLAW = ".flaw"


def encoded(kind, size=(400, 300), turned=None, **options):
    """A photo in a format."""
    file = io.BytesIO()
    exif = Image.Exif()
    if turned:
        options["exif"] = exif
        exif[0x0112] = turned
    with Image.open(PHOTOS / "coffee.jpg") as photo:
        photo.convert("RGB").resize(size).save(file, kind, **options)
    return file.getvalue()


def half(data):
    return data[: len(data) // 2]


def convert(page, data):
    """Give a file that the server refuses, and send a copy instead."""
    give(page, "photo.jpg", data)
    page.locator("#panel-result").get_by_role("button", name=COPY).click()


@pytest.mark.parametrize(
    "data",
    [
        half(encoded("JPEG")),
        half(encoded("JPEG", turned=6)),
        half(encoded("PNG")),
        half(encoded("BMP")),
        half(encoded("JPEG", size=(2400, 1800), quality=95)),
    ],
    ids=["jpeg", "turned jpeg", "png", "bmp", "jpeg above the limit"],
)
def test_a_copy_says_how_much_is_missing(open_page, data):
    """Above the answer to a copy, and in its row, the page says how much of the picture is missing."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    convert(page, data)
    flaw = page.locator(FLAW)
    expect(flaw).to_contain_text("of this picture is missing: its file is cut off.")
    page.wait_for_selector("#panel-result .sum")
    expect(page.locator("#status")).to_contain_text("of this picture is missing")
    [share] = map(int, re.findall(r"About (\d+)", flaw.inner_text()))

    assert 25 <= share <= 75  # bytes are not spread evenly
    assert flaw.inner_text().startswith(rows_of(saved(page)[1])[0]["error"][:30])


@pytest.mark.parametrize(
    "data",
    [
        half(encoded("JPEG", size=(1200, 900), progressive=True)),
        half(encoded("GIF")),  # Pillow writes interlaced ones
    ],
    ids=["progressive jpeg", "gif"],
)
def test_a_picture_without_its_details_is_not_called_whole(open_page, data):
    """A file whose lines are all there, but coarse, may lack parts, and the page says so."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    convert(page, data)

    expect(page.locator(FLAW)).to_contain_text("may be missing: its file is cut off.")


def test_nothing_to_show_is_no_answer(open_page):
    """A cut file of which the browser shows nothing is not sent as a blank."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    convert(page, half(encoded("WEBP")))

    expect(page.locator("#refused")).to_contain_text("The file is cut off.")


def without_end(data):
    assert data.endswith(b"\xff\xd9")
    return data[:-2]


LARGE = {"size": (1200, 900), "quality": 95}


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG", **LARGE),
        without_end(encoded("JPEG", **LARGE)),
        without_end(encoded("JPEG", **LARGE)) + b"\0\0SEFH" + b"\1" * 500,
        encoded("JPEG", **LARGE) + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 500,
        encoded("PNG", size=(600, 450)),
        encoded("JPEG", progressive=True, **LARGE),
    ],
    ids=["jpeg", "no end marker", "a maker's trailer", "a motion photo", "png", "progressive"],
)
def test_a_whole_picture_is_not_accused(open_page, data):
    """A copy of a whole picture has no warning, whatever is behind the picture."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    convert(page, data + b"\0" * LIMIT)  # behind the picture
    page.wait_for_selector("#panel-result .sum")
    expect(page.locator("#caption")).to_contain_text("copy of")

    assert 0 == page.locator(FLAW).count()


def test_the_next_photo_has_no_warning(open_page):
    """The warning belongs to one photo."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    convert(page, half(encoded("JPEG")))
    expect(page.locator(FLAW)).to_be_visible()
    give(page, "whole.jpg", encoded("JPEG"), "image/jpeg")
    page.wait_for_selector("#panel-result .sum")

    assert 0 == page.locator(FLAW).count()
