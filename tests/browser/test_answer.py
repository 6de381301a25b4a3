"""The answer and its details."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.command_line import command_line
from app.records import percent
from app.web.page.files import STATIC
from tests.browser.stage import as_vgg, expect, pick
from tests.browser.test_troubles import FAILED, problem
from tests.conftest import running_server

SAMPLES = STATIC / "samples"


def rows_of(page):
    return page.locator("#panel-result .guesses li").all_inner_texts()


def test_the_answer_is_there_before_the_first_click(open_page):
    """On load a sample is classified and announced to a screen reader."""
    page = open_page()
    best = page.locator(".guesses .name span").first.text_content()

    assert 5 == len(rows_of(page))
    assert f"Classified: {best}" in page.locator("#status").text_content()
    assert page.locator("#photo").get_attribute("alt") == "Your picture: coffee.jpg"


def test_the_first_photo_is_one_that_the_small_model_knows(tmp_path):
    """A fresh clone answers with the small model: what the page shows first has to be right."""
    with running_server(tmp_path, models="vgg16-mini") as server:
        html = httpx.get(server.url).text
        [first] = re.findall(r'id="photo" src="([^"]+)"', html)
        tiles = re.findall(r'data-src="([^"]+)"', html)
        photo = httpx.get(f"{server.url}/{first}").content
        answer = httpx.post(f"{server.url}/predict", content=photo).json()

    assert first == tiles[0]
    assert "espresso" == answer["predictions"][0]["label"]


def test_the_footer_claims_no_number_of_classes(server):
    """Models have 10, 202 or 1000 classes, and three of ImageNet's are for people."""
    footer = httpx.get(server).text.partition("<footer>")[2].partition("</footer>")[0]

    assert "hardly any" in footer
    assert not re.search(r"\d", footer)


def test_a_coffee_is_named(open_page):
    """The trained model in the box says espresso to the coffee, and a screen reader hears it."""
    page = open_page()

    expect(page.locator("#caption")).to_contain_text("coffee.jpg")
    expect(page.locator("#status")).to_contain_text("Classified: espresso")
    expect(page.locator(".guesses li").first).to_have_text(re.compile(r"espresso\s*8\d\.\d\s%"))
    assert 0 == page.locator(".untrained").count()


def test_an_unusual_photo_is_called_that(open_page):
    """A sentence above the bars and for a screen reader; a usual photo has none."""
    page = open_page()
    expect(page.locator("#status")).to_contain_text("Classified")
    usual = page.locator(".unusual").count()
    page.route("**/predict*", lambda r: r.fulfill(json=r.fetch().json() | {"unusual": True}))
    page.reload()

    assert 0 == usual
    expect(page.locator(".unusual")).to_have_text("This photo is unlike those the model knows.")
    expect(page.locator("#status")).to_contain_text("unlike those the model knows")


def test_bars_are_honest(open_page):
    """Bars are on an absolute scale, numbers have one decimal, and the sum is shown."""
    page = open_page()
    answer = json.loads(page.locator("#panel-json code").text_content())
    shares = [guess["probability"] for guess in answer["predictions"]]
    widths = page.eval_on_selector_all(
        "#panel-result .bar",
        "bars => bars.map(bar => bar.firstChild.getBoundingClientRect().width / bar.getBoundingClientRect().width)",
    )

    assert pytest.approx(shares, abs=0.01) == widths
    for text, share in zip(rows_of(page), shares, strict=True):
        assert (f"{100 * share:.1f}" if 0.001 <= share < 0.9995 else "") in text
    total = f"{100 * min(1, sum(shares)):.1f}" if sum(shares) < 0.9995 else "9"
    assert total in page.locator(".sum").text_content()
    assert "the other 197 share the rest" in page.locator(".sum").text_content()


def test_small_and_large_shares_are_not_rounded_away(open_page, server):
    """0.04 % is less than 0.1 %, not 0; 99.97 % is more than 99.9 %, not 100."""
    answer = httpx.post(f"{server}/predict", content=(SAMPLES / "coffee.jpg").read_bytes()).json()
    for guess, share in zip(answer["predictions"], (0.9997, 0.0002, 0.00005, 0, 0), strict=True):
        guess["probability"] = share
    page = open_page(
        prepare=lambda page: page.route("**/predict*", lambda r: r.fulfill(json=answer))
    )

    found = [re.sub(r"\s", " ", text) for text in page.locator(".guesses .share").all_inner_texts()]
    assert ["> 99.9 %", "< 0.1 %", "< 0.1 %", "0.0 %", "0.0 %"] == found


def test_page_and_terminal_write_the_same_percentages(open_page):
    """The page and Python write each probability alike, except for the width of the space."""
    page = open_page()
    shares = [index / 20_000 for index in range(20_001)]
    shares += [10.0**-exponent for exponent in range(2, 16)]
    shares += [1 - 10.0**-exponent for exponent in range(2, 16)]
    script = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    [path] = [name for name in script if name.endswith("/format.js")]
    shown = page.evaluate(
        "async ([path, shares]) => shares.map((await import(path)).percent)", [path, shares]
    )

    assert [percent(share) for share in shares] == [text.replace("\u202f", " ") for text in shown]


def test_the_samples_are_one_click(open_page):
    """Each tile is classified when it is clicked, and the tiles are small files."""
    page = open_page()
    tiles = page.locator("#samples button").all()
    for number, tile in enumerate(tiles, start=2):
        tile.click()
        expect(page.locator("#session .past b")).to_have_count(number)

    assert 6 == len(tiles)
    assert "clock.jpg" in page.locator("#caption").text_content()
    assert all(file.stat().st_size <= 60_000 for file in SAMPLES.glob("*.jpg"))


def test_all_classes_on_request_and_searchable(open_page):
    """All classes that the model knows are listed, and found by part of a name or a WordNet id."""
    page = open_page()
    page.get_by_text("All 202 classes").click()
    page.wait_for_selector(".every ol li")

    assert 202 == page.locator(".every ol li").count()
    page.get_by_label("Search by name").press_sequentially("retriever")
    assert 2 == page.locator(".every ol li:visible").count()
    assert "2 of 202" == page.locator(".every [role=status]").text_content()
    page.get_by_label("Search by name").press("Control+A")
    page.get_by_label("Search by name").press_sequentially("n07920052")
    assert ["espresso"] == page.locator(".every ol li:visible .name").all_inner_texts()


def test_a_label_with_a_comma(open_page):
    """A label of one's own is one name, with its commas; WordNet's are several names."""

    def rename(route):
        said = route.fetch().json()
        said["predictions"][0] |= {"label": "rose, red", "wnid": None}
        said["predictions"][1] |= {"label": "rose, white", "wnid": None}
        said["predictions"][2] |= {"label": "red panda, panda", "wnid": "n02509815"}
        route.fulfill(json=said)

    page = open_page(prepare=lambda p: p.route("**/predict*", rename))
    page.locator("#all summary").click()

    names = page.locator(".guesses .name").all_text_contents()[:3]
    assert ["rose, red", "rose, white", "red panda panda"] == [name.strip() for name in names]
    assert "Classified: rose, red, " in page.locator("#status").text_content()
    assert "rose, red" == page.locator("#session .past b").text_content()
    assert "rose, white" == page.locator("#rows td").nth(2).text_content()


def test_very_many_classes(open_page):
    """Of a model that knows 100,000 classes the page lists the first thousand, and finds each of the others."""
    guesses = [
        {
            "rank": index,
            "label": f"class {index}.",
            "probability": 1e-5,
            "wnid": None,
            "class_index": index,
        }
        for index in range(100_000)
    ]

    def know_more(route):
        route.fulfill(json=route.fetch().json() | {"predictions": guesses})

    open_page.watch.still = False  # so long an answer is not there at once
    page = open_page()
    page.route("**/predict*top_k*", know_more)
    page.get_by_text("All 202 classes").click()
    page.wait_for_selector(".every ol li")

    assert 1000 == page.locator(".every ol li").count()
    status = page.locator(".every [role=status]")
    assert "100000 of 100000, the first 1000 are shown" == status.text_content()
    page.get_by_label("Search by name").fill("class 98765.")
    assert ["class 98765."] == page.locator(".every .name").all_inner_texts()


def test_what_the_network_sees(open_page):
    """The frame shows where the server crops, and the switch shows that square alone."""
    page = open_page()
    model = page.evaluate("fetch('/models').then(r => r.json())")["models"][0]["name"]
    prepare = page.evaluate(f"fetch('/models/{model}').then(r => r.json())")["preprocess"]
    frame = page.evaluate(
        """() => {
          const [photo, crop] = ["#photo", ".crop"].map((path) => document.querySelector(path).getBoundingClientRect());
          return [(crop.x - photo.x) / photo.width, (crop.y - photo.y) / photo.height, crop.width / photo.height];
        }"""
    )
    side = prepare["crop"] / prepare["resize"]

    assert pytest.approx([(1 - side * 300 / 451) / 2, (1 - side) / 2, side], abs=0.01) == frame
    page.get_by_label("Only what the network sees").check()
    assert page.locator("#view").is_visible()
    assert not page.locator("#photo").is_visible()
    assert prepare["crop"] == page.evaluate("document.getElementById('view').width")


def test_times_and_batch(open_page):
    """The page shows the stages of Server-Timing and the size of the photo's batch."""
    page = open_page()
    times = page.locator(".timing p").inner_text()

    for stage in ("transfer", "decode", "queue", "run", "rank"):
        assert re.search(rf"{stage} [\d.]+\sms", times)
    assert "alone in its batch on cpu" in page.locator("#panel-result").inner_text()


def test_json_is_the_answer(open_page, server):
    """The JSON tab shows what the server sends."""
    page = open_page()
    page.get_by_role("tab", name="JSON").click()
    shown = json.loads(page.locator("#panel-json code").inner_text())

    data = (SAMPLES / "coffee.jpg").read_bytes()
    assert httpx.post(f"{server}/predict", content=data).json() == shown


def test_code_runs_as_it_stands(open_page, server, tmp_path):
    """Every snippet works from the folder of the photo, and names the same class."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Code").click()
    block = page.locator("#panel-code .code").filter(has_text="httpx")
    block.get_by_role("button", name="Copy").click()
    page.wait_for_selector("text=Copied")
    python = page.evaluate("navigator.clipboard.readText()")
    curl, _, *others, node = page.locator("#panel-code code").all_inner_texts()
    (tmp_path / "coffee.jpg").write_bytes((SAMPLES / "coffee.jpg").read_bytes())

    def run(*command):
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(command, check=True, **options).stdout

    said = run(sys.executable, "-c", python)
    best = page.evaluate("document.querySelector('.guesses .name span').textContent")

    assert best in said.splitlines()[0]
    assert server in curl
    assert best in run("sh", "-c", curl)
    assert 2 == len(others)
    for code in others:
        assert best in run(sys.executable, "-c", code).splitlines()[0]
    if shutil.which("node"):
        assert best in run("node", "--input-type=module", "-e", node)


def test_hostile_names_are_quoted_for_the_shell(open_page, hand, tmp_path, photo):
    """The curl of a file with a hostile name classifies that file, and does nothing else."""
    name = "it's $(touch owned) `touch owned` \"; touch owned.jpg"
    (tmp_path / name).write_bytes(photo.read_bytes())
    page = open_page()
    hand(page, (name, "image/jpeg", photo.read_bytes()))
    expect(page.locator("#session .past b")).to_have_count(2)
    page.get_by_role("tab", name="Code").click()
    command = page.locator("#panel-code code").first.inner_text()
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )

    assert b"predictions" in done.stdout
    assert [name] == [path.name for path in tmp_path.iterdir()]


def test_two_models_side_by_side(open_page):
    """A second model answers beside the first, and the page says whether they agree."""
    page = open_page()
    pick(page, "Compare with", "second")
    page.wait_for_selector(".verdict[data-agree]")

    assert 2 == page.locator(".column .sum").count()
    assert "second" in page.locator("#panel-json").text_content()
    status = page.locator("#status").text_content()
    first = page.locator("#model option").first.text_content()
    for part in (f"{first}: Classified", "Tells three colours apart: Classified"):
        assert part in status
    pick(page, "Compare with", "")
    expect(page.locator(".column")).to_have_count(1)


def pretend(change):
    """Change what the server says of each model, by its name."""

    def describe(route):
        said = route.fetch().json()
        route.fulfill(json=said | change(said))

    return lambda page: page.route("**/models/*", describe)


def test_trained_models_are_compared(open_page):
    """The page says whether two trained models agree, and a screen reader hears it."""
    page = open_page(prepare=pretend(lambda _: {"trained": True}))
    pick(page, "Compare with", "second")
    verdict = page.locator(".verdict[data-agree]")

    expect(verdict).to_contain_text("They differ: ")
    expect(page.locator("#status")).to_contain_text(verdict.text_content())


@pytest.mark.parametrize(
    ("wnid", "label", "verdict"),
    [
        ("n07920052", "espresso", "\N{CHECK MARK} They agree: espresso"),
        ("n02012849", "espresso", "\N{BALLOT X} They differ: espresso or espresso"),
        (None, "espresso", "\N{CHECK MARK} They agree: espresso"),
        (None, "cup", "\N{BALLOT X} They differ: espresso or cup"),
    ],
)
def test_models_with_other_orders_of_classes_are_compared(open_page, wnid, label, verdict):
    """Classes are compared by WordNet id, or by name, not by their place in the output."""

    def answer(route):
        said = route.fetch().json()
        best = said["predictions"][0] | {"label": "espresso", "wnid": "n07920052", "class_index": 7}
        if "model=second" in route.request.url:
            best |= {"label": label, "wnid": wnid, "class_index": 9}
        route.fulfill(json=said | {"predictions": [best]})

    def prepare(page):
        pretend(lambda _: {"trained": True})(page)
        page.route("**/predict*", answer)

    page = open_page(prepare=prepare)
    pick(page, "Compare with", "second")

    expect(page.locator(".verdict[data-agree]")).to_have_text(verdict)


def test_no_answer_is_compared_with_an_untrained_one(open_page):
    """Beside an untrained model the page says that nothing is compared, not that models differ."""
    page = open_page()
    pick(page, "Compare with", "second")

    expect(page.locator(".verdict[data-agree=unknown]")).to_have_text(
        "Not compared: Tells three colours apart is untrained."
    )
    expect(page.locator("#status")).to_contain_text("Not compared")
    assert "differ" not in page.locator("#answer").inner_text()


def test_untrained_weights_cannot_be_missed(open_page):
    """A banner above the answer says that it means nothing and how to get real weights."""
    page = open_page(prepare=lambda p: p.route("**/models/second", draw_vgg))
    pick(page, "Model", "second")
    banner = page.locator(".untrained")
    page.wait_for_selector("#panel-result .sum")
    assert banner.is_visible()
    assert "means nothing" in banner.inner_text()
    assert f"{command_line(Path(sys.executable))} pull second" in banner.inner_text()
    box = banner.bounding_box()
    assert box["y"] + box["height"] <= 900  # within the window without scrolling
    assert "means nothing" in page.locator("#status").text_content()
    assert "untrained" in page.locator("#session").inner_text()
    assert [] == page.locator(".untrained").evaluate("it => it.getAnimations()")
    for size in ({"width": 390, "height": 844}, {"width": 1280, "height": 900}):
        page.set_viewport_size(size)
        page.locator(".guesses").scroll_into_view_if_needed()
        assert page.locator(".guesses li").evaluate_all("""rows => rows.every((row) => {
          const { x, y } = row.getBoundingClientRect();
          return row.contains(document.elementFromPoint(x + 2, y + 2));
        })"""), size


def test_a_stand_in_is_asked_first_and_named(open_page):
    """Where a model stands in for the default one, it is asked, and a banner names both."""

    def standing(said):
        trained = {"trained": True, "layers": []}
        if said["name"] == "second":
            return trained | {"stands_in_for": "vgg16"}
        return trained | ({"state": "failed"} if said["default"] else {})

    page = open_page(prepare=pretend(standing))
    banner = page.locator(".untrained").inner_text()

    assert "second" == page.locator("#model").input_value()
    assert banner.startswith("Tells three colours apart stands in for vgg16. Real weights: ")
    assert "pull vgg16 on the server" in banner


def test_a_stand_in_gives_way_to_the_default_model(open_page, server):
    """While the default one loads there is nothing to run; once it is ready, it is asked."""
    default = httpx.get(f"{server}/models").json()["models"][0]["name"]
    loading = [True]

    def standing(said):
        if said["name"] == "second":
            return {"trained": True, "layers": [], "stands_in_for": default if loading else None}
        return {"trained": True} | ({"state": "loading"} if loading and said["default"] else {})

    page = open_page(prepare=pretend(standing))
    expect(page.locator(".untrained")).to_have_text(
        f"Tells three colours apart stands in for {default}. The server is loading {default}."
    )
    assert "second" == page.locator("#model").input_value()
    loading.clear()

    expect(page.locator("#model")).to_have_value(default)
    expect(page.locator(".untrained")).to_have_count(0)


def test_a_model_of_ten_classes_is_told_as_one(open_page):
    """The page counts the classes that the model knows."""
    page = open_page(prepare=pretend(lambda _: {"classes": 10}))
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    assert "These 5 add up to" in page.locator(".sum").inner_text()
    assert "the other 5 share the rest" in page.locator(".sum").inner_text()
    page.get_by_text("All 10 classes").click()
    page.wait_for_selector(".every ol li")
    assert 10 == page.locator(".every ol li").count()
    assert "10 of 10" == page.locator(".every [role=status]").inner_text()
    assert any(url.endswith("&top_k=10") for url in asked)


def draw_vgg(route):
    route.fulfill(json=as_vgg(route.fetch().json()))


def test_nothing_is_advised_that_cannot_be_downloaded(open_page):
    """A model that was never trained has no weights elsewhere, so no command is shown."""
    page = open_page()
    pick(page, "Model", "second")

    expect(page.locator(".untrained")).to_contain_text("means nothing")
    assert 0 == page.locator(".untrained code").count()


def test_the_network_is_drawn_with_its_numbers(open_page):
    """The page draws a VGG, sums up its parameters and multiply-adds, and lists every layer."""

    def prepare(page):
        pretend(lambda _: {"configuration": None, "layers": []})(page)
        page.route("**/models/second", draw_vgg)

    page = open_page(prepare=prepare)
    section = page.locator("#network")
    text = section.inner_text().replace("\u00a0", " ")
    asked = page.locator("#model option").first.text_content()

    assert f"Not a VGG: {asked}." in text
    assert "13 convolutions of 3 \u00d7 3 and 3 fully connected" in text
    assert "89 % of the 138 million parameters" in text
    assert "99 % of the 15.5 billion multiply-adds" in text
    assert "212 \u00d7 212 pixels" in text
    drawn = section.locator("svg:visible")
    words = drawn.locator("text").all_text_contents()
    assert 5 == drawn.locator("polygon.pool").count()
    assert ["billions", "103", "1.85"] == [
        one for one in ("billions", "103", "1.85") if one in words
    ]
    assert "B" not in "".join(words)  # a billion is called one everywhere
    legend = section.locator(".key").all_inner_texts()
    assert ["convolution", "max-pooling", "fully connected"] == legend
    hues = [
        [
            section.locator(f".key.{kind}").evaluate(
                "it => getComputedStyle(it, '::before').color"
            ),
            drawn.locator(f":is(rect, polygon).{kind}").first.evaluate(
                "it => getComputedStyle(it).fill"
            ),
        ]
        for kind in ("conv", "pool", "fc")
    ]
    assert all(key == shape for key, shape in hues)
    assert 3 == len({key for key, _ in hues})
    section.get_by_text("The 21 layers as a table").click()
    rows = section.locator("tbody tr").all_inner_texts()
    assert [
        "conv1_1",
        "convolution",
        "3 \u00d7 3",
        "64 \u00d7 224 \u00d7 224",
        "1,792",
        "86,704,128",
        "3 \u00d7 3",
    ] == rows[0].replace("\u00a0", " ").split("\t")
    assert "102,764,544" in rows[18]


HASTE = """
window.pauses = [];
const later = setTimeout;
window.setTimeout = (step, ms) => later(step, ms < 1000 ? ms : (pauses.push(ms), ms / 100));
"""


def test_the_strip_is_alive_and_modest(open_page):
    """State and device come from /readyz, asked ever more rarely; /metrics is not asked at all."""
    asked = []

    def prepare(page):
        page.add_init_script(HASTE)
        page.on("request", lambda request: asked.append(request.url))

    page = open_page(prepare=prepare)
    page.wait_for_function("() => pauses.length > 4")

    assert "ready · cpu" == page.locator("#live").inner_text()
    assert [5000, 10_000, 20_000, 30_000, 30_000] == page.evaluate("pauses.slice(0, 5)")
    assert [] == [url for url in asked if url.endswith("/metrics")]
    assert 1 == len([url for url in asked if url.endswith("/models")])


@pytest.mark.parametrize(
    ("slug", "says"),
    [("draining", "The server is shutting down"), ("model-failed", "The model is not available")],
)
def test_the_strip_says_why_the_server_is_not_ready(open_page, slug, says):
    """A server that stops, or whose model has stopped, is not shown as ready."""
    open_page.watch.allowed.append(FAILED)
    answer = problem(slug)
    page = open_page(prepare=lambda p: p.route("**/readyz", lambda r: r.fulfill(**answer)))

    expect(page.locator("#live[data-state=away]")).to_have_text(says)


def test_the_strip_sleeps_with_the_tab(open_page):
    """A hidden tab sends no requests; it looks at once when it is shown again."""
    asked = []

    def prepare(page):
        page.clock.install()
        page.on("request", lambda r: asked.append(r.url) if r.url.endswith("/readyz") else None)

    page = open_page(prepare=prepare)
    page.wait_for_selector("#live[data-state=ready]")
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }"""
    page.evaluate(hide, True)  # noqa: FBT003
    before = len(asked)
    page.clock.run_for(60_000)
    assert before == len(asked)
    with page.expect_request("**/readyz"):
        page.evaluate(hide, False)  # noqa: FBT003


def test_a_sample_below_brings_its_answer_into_view(open_page):
    """On a phone, where the samples are below the answer, a tap on one shows the photo again."""
    page = open_page(viewport={"width": 390, "height": 600})
    page.locator("#samples button").last.click()
    expect(page.locator("#caption")).to_contain_text("clock.jpg")

    expect(page.locator("#photo")).to_be_in_viewport()


def test_history_of_this_tab(open_page, hand, photo):
    """Photos are kept as thumbnails with answers, can be shown again, and go when cleared."""
    page = open_page()
    hand(page, ("second.jpg", "image/jpeg", photo.read_bytes()))
    expect(page.locator("#session .past b")).to_have_count(2)
    page.locator("#session button").last.click()
    assert "coffee.jpg" in page.locator("#caption").text_content()
    assert "true" == page.locator("#session button").last.get_attribute("aria-current")
    before = page.locator("#session .past").first.inner_text().split()
    pick(page, "Model", "second")
    page.wait_for_selector(".untrained")
    after = page.locator("#session .past").first.inner_text().split()
    assert [
        *before[:-1],
        f"({page.locator('#model option').first.get_attribute('value')})",
    ] == after[:-1]
    page.get_by_role("button", name="Clear").click()

    assert 0 == page.locator("#session button").count()
    assert "Your turn." in page.locator("#panel-result").inner_text()
    assert "No photo" == page.locator("#caption").inner_text()


def test_theme(open_page):
    """The system's theme applies until the button is pressed; the choice survives a reload."""
    page = open_page(scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    button = page.get_by_role("button", name="Dark")
    assert "true" == button.get_attribute("aria-pressed")
    button.click()
    light = page.evaluate(ground)
    page.reload()
    page.wait_for_selector("#panel-result .sum")

    assert dark != light
    assert light == page.evaluate(ground)
    assert "false" == button.get_attribute("aria-pressed")


def test_theme_without_storage(open_page):
    """The button works even if storage is switched off."""
    off = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('off'); } });"
    page = open_page(prepare=lambda p: p.add_init_script(off))
    button = page.get_by_role("button", name="Dark")
    button.click()

    assert "true" == button.get_attribute("aria-pressed")
