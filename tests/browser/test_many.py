"""Many photos: all results are kept as a table and can be saved, and memory is bounded."""

import csv
import io
from contextlib import redirect_stdout

import httpx
import pytest

from app.cli.predict.writers import Csv
from tests.browser.stage import expect, pick
from tests.browser.test_troubles import FAILED, busy_times
from tests.conftest import png

COUNT = """
window.addresses = new Set();
window.most = 0;
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (blob) => {
  const address = createObjectURL.call(URL, blob);
  addresses.add(address);
  most = Math.max(most, addresses.size);
  return address;
};
URL.revokeObjectURL = (address) => (addresses.delete(address), revokeObjectURL.call(URL, address));
"""
RANKS = range(1, 6)


def photos(*names, colours=("red", "green", "blue")):
    """Files for the file chooser, red, green and blue in turn."""
    return [
        {"name": name, "mimeType": "image/png", "buffer": png(colours[number % len(colours)])}
        for number, name in enumerate(names)
    ]


def give(page, *files):
    page.locator("#file").set_input_files(list(files))


def saved(page):
    """Save the table, and return the name of the file and its bytes."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def columns():
    """The columns of the command line's own file, for five classes."""
    with redirect_stdout(io.StringIO()) as out:
        Csv(5)
    return out.getvalue().strip().split(",")


def rows_of(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_all_of_many_photos_are_kept(open_page):
    """All results stay; 24 photos have thumbnails, and few pictures are open at once."""
    page = open_page(prepare=lambda p: p.add_init_script(COUNT))
    give(page, *photos(*(f"{number}.png" for number in range(200))))
    expect(page.locator("#kept")).to_have_text("201 of 201 answered", timeout=60_000)

    assert 201 == page.locator("#rows tr").count()
    assert 201 == page.locator("#rows td:nth-child(3)").count()
    assert 24 == page.locator("#session canvas").count()
    page.wait_for_function("addresses.size === 1")  # of the photo that is shown
    assert page.evaluate("most") <= 4
    rows = rows_of(saved(page)[1])
    assert [f"{number}.png" for number in range(200)] == [row["file"] for row in rows[:200]]
    assert 201 == sum(bool(row["label_5"]) for row in rows)
    page.get_by_role("button", name="150.png").click()
    expect(page.locator("#caption")).to_contain_text("150.png")
    expect(page.locator("#photo")).to_be_visible()


def test_the_saved_table_is_what_the_server_said(open_page):
    """Each row has the columns of `vgg-serve predict --csv`, and the numbers of the server."""
    page = open_page()
    give(page, *photos("one.png", "two.png"))
    expect(page.locator("#kept")).to_have_text("3 of 3 answered")
    name, data = saved(page)
    answer = httpx.post(f"{page.url}predict", content=png("red")).json()
    [first, second, sample] = rows_of(data)

    assert "vgg-serve.csv" == name
    assert b"\xef\xbb\xbf" == data[:3]
    assert columns() == list(first)
    assert answer["model"]["name"] == first["model"]
    assert str(answer["model"]["trained"]).lower() == first["trained"]
    for rank, guess in zip(RANKS, answer["predictions"], strict=True):
        for key in ("label", "wnid"):
            assert guess[key] == first[f"{key}_{rank}"]
        assert guess["class_index"] == int(first[f"class_index_{rank}"])
        assert pytest.approx(guess["probability"]) == float(first[f"probability_{rank}"])
    assert ["one.png", "two.png", "coffee.jpg"] == [one["file"] for one in (first, second, sample)]


HOSTILE = ["=1+2.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png", " =1.png", "＝1.png"]  # noqa: RUF001
QUOTED = ['a "quoted", name.png', "Füße.png", "it's.png"]


def test_a_saved_file_name_is_no_formula(open_page):
    """A name that a spreadsheet would run gets ./ before it; other names stay as they are."""
    page = open_page()
    give(page, *photos(*HOSTILE, *QUOTED))
    expect(page.locator("#kept")).to_have_text("11 of 11 answered")

    files = [row["file"] for row in rows_of(saved(page)[1])]
    assert [*(f"./{name}" for name in HOSTILE), *QUOTED, "coffee.jpg"] == files


def test_a_photo_without_an_answer_has_its_reason(open_page):
    """One file that fails does not end the others; table and file say why it has no answer."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    broken = {"name": "paper.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 " * 30}
    give(page, *photos("a.png"), broken, *photos("b.png"))
    expect(page.locator("#kept")).to_have_text("3 of 4 answered, 1 without an answer")
    expect(page.locator("#status")).to_contain_text("3 of 4 answered, 1 without an answer")
    shown = page.locator("#rows tr").nth(1)
    rows = rows_of(saved(page)[1])

    assert "PDF is not supported" in shown.inner_text()
    assert "PDF is not supported" in rows[1]["error"]
    assert ["", ""] == [rows[1]["label_1"], rows[1]["probability_5"]]
    assert ["", ""] == [rows[0]["error"], rows[2]["error"]]


def test_an_untrained_answer_is_marked_in_the_file(open_page):
    """Table and file say that an untrained model's answers mean nothing."""
    page = open_page()
    give(page, *photos("a.png", "b.png"))
    pick(page, "Model", "second")
    page.wait_for_selector("#panel-result .sum")
    rows = rows_of(saved(page)[1])

    assert ["second", "false"] == [rows[0]["model"], rows[0]["trained"]]
    assert "untrained" in page.locator("#rows tr").first.inner_text()


def test_another_model_can_be_asked_about_all(open_page):
    """After a choice of another model each row names the one that answered, and a button asks it."""
    page = open_page()
    first = page.locator("#model").input_value()
    give(page, *photos("a.png", "b.png"))
    expect(page.locator("#kept")).to_have_text("3 of 3 answered")
    pick(page, "Model", "second")
    expect(page.locator("#kept")).to_have_text("1 of 3 answered")
    assert f"({first})" in page.locator("#rows tr").last.inner_text()
    asked = [row["model"] for row in rows_of(saved(page)[1])]
    assert ["second", first, first] == asked
    page.get_by_role("button", name="about all").click()
    expect(page.locator("#kept")).to_have_text("3 of 3 answered")

    assert not page.get_by_role("button", name="about all").is_visible()


def test_a_busy_server_is_waited_for(open_page):
    """Of many photos, each is sent again as long as the server asks for patience."""
    open_page.watch.allowed.append(FAILED)
    page = open_page()
    page.route("**/predict*", busy_times(12, retry_after=1))
    give(page, *photos("a.png", "b.png", "c.png"))

    expect(page.locator("#kept")).to_have_text("4 of 4 answered", timeout=60_000)


def test_the_table_by_keyboard(open_page):
    """The table is one stop for Tab; arrows, Home and End go through it, Enter shows a photo."""
    page = open_page()
    give(page, *photos("a.png", "b.png", "c.png"))
    expect(page.locator("#kept")).to_have_text("4 of 4 answered")
    assert 1 == page.locator("#rows button[tabindex='0']").count()
    page.locator("#rows button[tabindex='0']").focus()
    reached = []
    for key in ("ArrowUp", "ArrowDown", "ArrowDown", "End", "ArrowDown", "ArrowUp", "Home"):
        page.keyboard.press(key)
        reached.append(page.evaluate("document.activeElement.textContent"))
    assert ["a.png", "b.png", "c.png", "coffee.jpg", "coffee.jpg", "c.png", "a.png"] == reached
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#caption")).to_contain_text("b.png")

    assert "b.png" == page.evaluate("document.activeElement.textContent")
    assert "true" == page.evaluate("document.activeElement.ariaCurrent")


def test_cleared_means_gone(open_page):
    """After a Clear no row, tile or picture is left, and nothing can be saved."""
    page = open_page(prepare=lambda p: p.add_init_script(COUNT))
    give(page, *photos("a.png", "b.png"))
    expect(page.locator("#kept")).to_have_text("3 of 3 answered")
    page.get_by_role("button", name="Clear").click()

    assert 0 == page.locator("#rows tr").count()
    assert page.get_by_role("button", name="Save as CSV").is_disabled()
    assert not page.locator("#all").is_visible()
    page.wait_for_function("addresses.size === 0")
