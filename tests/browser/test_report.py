"""The page of an evaluation is for everyone: WCAG 2.2 AA in light and dark, phones, paper; it asks for nothing."""

import os
import subprocess
import sys

import pytest

from tests.browser.test_access import violations
from tests.conftest import REPOSITORY, png, write_colours

LABEL = "<b>\"bold\"<b> & 'quoted'.png"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of 130 photos, with a comparison and flip rates."""
    folder = tmp_path_factory.mktemp("report")
    write_colours(folder, "colours")
    text = (folder / "colours.toml").read_text().replace('"colours"', '"swapped"')
    (folder / "swapped.toml").write_text(text.replace('"RGB"', '"BGR"'))
    for number, colour in enumerate(["red", "lime", "blue"]):
        place = folder / "photos" / str(number)
        place.mkdir(parents=True)
        for one in range(43):
            (place / f"{one}.png").write_bytes(png(colour, size=(40 + one % 9, 40)))
    (place / LABEL).write_bytes(png("red", size=(50, 50)))
    (place / "broken.png").write_bytes(png("red")[:60])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    kept |= {"VGG_MODEL_DIR": str(folder), "VGG_MODELS": "colours"}
    page = folder / "report.html"
    command = [sys.executable, "-m", "app", "evaluate", folder / "photos", "--html", page]
    command += ["--compare", "swapped", "--stress", "--stress-photos", "20", "--min-top1", "0.5"]
    subprocess.run(command, cwd=REPOSITORY, env=kept, check=True, stdout=subprocess.DEVNULL)
    return page


@pytest.fixture
def show(browser, report):
    """Open the page, and note what it asks for and what the console says."""
    contexts, wrong = [], []

    def show(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: wrong.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(report.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert set() == {one for one in wrong if not one.startswith(("data:", report.as_uri()))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_objects_to_nothing(show, scheme):
    """With every section, on a large screen."""
    page = show(color_scheme=scheme, viewport={"width": 1280, "height": 900}, bypass_csp=True)

    assert [] == violations(page)


def test_it_fits_a_phone(show):
    """Only tables scroll sideways."""
    page = show(viewport={"width": 390, "height": 844})

    assert 390 == page.evaluate("document.documentElement.scrollWidth")
    assert page.locator("svg").first.bounding_box()["width"] <= 390


def test_plots_take_the_colours_of_the_page(show):
    """Their text is dark on light, and light on dark."""
    colours = [
        show(color_scheme=scheme).evaluate(
            "getComputedStyle(document.querySelector('svg text')).fill"
        )
        for scheme in ("light", "dark")
    ]

    assert ["rgb(28, 31, 36)", "rgb(230, 233, 238)"] == colours


def test_it_prints_in_light(show):
    """Whatever the screen is; navigation is left out."""
    page = show(color_scheme="dark")
    page.emulate_media(media="print")

    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert not page.locator("nav").is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_names_are_text(show):
    """Whatever they hold; nothing of them runs."""
    page = show()

    assert page.get_by_text(f"2/{LABEL}", exact=True).count() > 0
    assert 0 == page.locator("li b b").count()
    assert page.locator("img").evaluate_all("images => images.every((one) => one.naturalWidth > 0)")
