"""AlexNet beside VGG-16 and VGG-19, and the paper's arguments as pictures: loaded when they are opened."""

import re

import pytest

from app.graph.vgg import CONFIGURATIONS, architecture
from tests.browser.stage import expect
from tests.browser.test_access import DESKTOP, PHONE
from tests.browser.test_troubles import FAILED

QUESTION = "why small kernels?"
ALEXNET = [  # outputs, side of the output, kernel, inputs that each output sees: two groups in three of them
    *[(96, 55, 11, 3), (256, 27, 5, 48), (384, 13, 3, 256), (384, 13, 3, 192), (256, 13, 3, 192)],
    *[(4096, 1, 6, 256), (4096, 1, 1, 4096), (1000, 1, 1, 4096)],
]


def opened(page):
    page.get_by_text(QUESTION).click()
    page.wait_for_selector(".family")
    return page.locator(".family")


def test_it_is_loaded_when_it_is_opened(open_page):
    """The first view has neither its script nor its style."""
    page = open_page()
    loaded = "() => performance.getEntriesByType('resource').filter(({ name }) => name.includes('later')).length"

    assert 0 == page.evaluate(loaded)
    opened(page)
    assert page.evaluate(loaded) >= 3


def test_the_numbers_are_counted(open_page):
    """Parameters and multiply-adds are those of the layers, for AlexNet as for both VGG."""
    page = open_page()
    opened(page)
    rows = page.locator(".facts tbody tr").evaluate_all(
        "rows => rows.map(({ cells }) => [...cells].map((cell) => cell.textContent))"
    )
    said = {name: cells for name, *cells in rows}
    convolutions = [(c * s * s, c * k * k * i + c, c * k * k * i * s * s) for c, s, k, i in ALEXNET]
    parameters, work = (sum(row[at] for row in convolutions) for at in (1, 2))
    sums = [(parameters, work)]
    sums += [
        (vgg.parameters(), vgg.multiply_adds()) for vgg in map(architecture, ("vgg16", "vgg19"))
    ]

    assert [f"{count / 1e6:.0f} million" for count, _ in sums] == said["Parameters"]
    assert [f"{count / 1e9:.1f} billion" for _, count in sums] == said["Multiply-adds"]
    assert ["5", "13", "16"] == [re.findall(r"\d+", text)[0] for text in said["Convolutions"]]


def test_the_drawing_has_every_layer(open_page):
    """VGG-16 and VGG-19 are drawn with the channels and sides that the service computes with."""
    page = open_page()
    texts = opened(page).locator("svg.lying text").all_text_contents()

    for name in ("vgg16", "vgg19"):
        title = name.upper().replace("VGG", "VGG-")
        after = texts[texts.index(title) + 1 :][: 2 * len(architecture(name).layers())]
        expected = []
        for row in architecture(name).layers():
            channels, side = row.output_shape[0], row.output_shape[-1]
            pool = row.kind == "max-pooling"
            short = row.name.replace("conv", "").replace("_", ".")
            expected += [f"{side}\u00b2", ""] if pool else [str(channels), short]
        assert expected == after


def test_the_six_configurations(open_page):
    """Each column has the paper's errors, and as many squares as its configuration has convolutions."""
    page = open_page()
    figure = opened(page).get_by_role("img", name="Top-1 and top-5 error")
    said = figure.get_attribute("aria-label")
    errors = [
        "29.6",
        "10.4",
        "29.7",
        "10.5",
        "28.7",
        "9.9",
        "28.1",
        "9.4",
        "27.0",
        "8.8",
        "27.3",
        "9.0",
    ]
    squares = figure.locator("rect").evaluate_all(
        "all => all.filter((it) => it.getAttribute('width') === '40').map((it) => it.getAttribute('class'))"
    )
    kernels = [side for groups in CONFIGURATIONS.values() for group in groups for side in group]
    first = [side for group in CONFIGURATIONS["A"] for side in group]  # A-LRN

    assert errors == re.findall(r"\d+\.\d", said)
    assert errors == re.findall(r"\d+\.\d", " ".join(figure.locator("text").all_text_contents()))
    assert (kernels + first).count(3) == squares.count("conv")
    assert kernels.count(1) == squares.count("fc")
    assert 1 == squares.count("lrn")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, {"width": 320, "height": 700}], ids=str)
def test_it_fits(open_page, size):
    """On each screen the pictures are whole, and their letters can be read."""
    page = open_page(viewport=size)
    family = opened(page)
    seen = family.locator("svg:visible text").evaluate_all("""(texts) => texts.filter(({ textContent }) => textContent).map((text) => {
      const { left, right, height } = text.getBoundingClientRect();
      return [text.textContent, left >= 0 && right <= innerWidth, height];
    })""")

    assert [] == [name for name, inside, _ in seen if not inside]
    assert min(height for _, _, height in seen) >= 9
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_what_does_not_load(open_page):
    """If the script does not come, a screen reader hears it, and its section closes."""
    open_page.watch.allowed.append(FAILED)
    page = open_page(prepare=lambda p: p.route("**/later/family.js", lambda r: r.abort(), times=1))
    page.get_by_text(QUESTION).click()
    expect(page.locator("#status")).to_have_text("That did not load. Reload the page.")
    expect(page.locator("#family")).not_to_have_attribute("open", "")
