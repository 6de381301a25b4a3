"""Photograph the page in its main states, into docs/images: `python -m tests.browser.screenshots [NAME ...]`.

It starts the server by itself, with the real SqueezeNet of ../shared/data, an untrained VGG-16 of
the true size (1 GB of disk for the while, 3 GB of memory), and the small trained VGG. `report` is the page
that `vgg-serve evaluate` writes about the small VGG, on its photos of ../shared/data.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.stage import TRAINED, launched, pick
from tests.conftest import REPOSITORY, SQUEEZENET, SQUEEZENET_MANIFEST, running_server
from tests.e2e.planted import Photos

IMAGES = REPOSITORY / "docs" / "images"
DESKTOP, PHONE = (1280, 900), (390, 844)
REPORT, REPORT_HEIGHT = "report", 1225  # to the end of the first plot
COLOURS = 256  # of the palette: enough at this size, and a third of the bytes


def compare(page: Any) -> None:
    """Show two trained models side by side."""
    pick(page, "Compare with", TRAINED)
    page.wait_for_selector(".verdict[data-agree]")


def drawing(page: Any) -> None:
    """Show the layers of VGG-16."""
    page.locator("#network").evaluate("section => section.scrollIntoView()")


def code(page: Any) -> None:
    """Show the request as code."""
    page.get_by_role("tab", name="Code").click()


def looked(page: Any) -> None:
    """Show where the small model looked."""
    pick(page, "Model", TRAINED)
    page.get_by_label("Where it looked").check()
    page.wait_for_selector(".where b")


def inside(page: Any) -> None:
    """Show what the layers of the small model make of the photo, and what one map saw."""
    pick(page, "Model", TRAINED)
    page.wait_for_selector("#panel-result .sum")
    page.locator("#inside summary").click()
    page.wait_for_selector(".maps")
    page.locator(".sheet").nth(2).locator(".maps button").nth(3).click()
    page.locator("#inside").evaluate("section => section.scrollIntoView()")


def family(page: Any) -> None:
    """Show why kernels are small."""
    page.locator("#family summary").click()
    page.wait_for_selector(".family")
    page.locator(".family article").nth(1).evaluate("article => article.scrollIntoView()")


def sample(name: str) -> Callable[[Any], None]:
    """Show the answer to one of the samples."""

    def show(page: Any) -> None:
        page.locator(f"#samples button:has([src*={name}])").click()

    return show


def heic(page: Any) -> None:
    """Show an error."""
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
    page.locator("#file").set_input_files(
        {"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": data}
    )
    page.wait_for_selector(".trouble")


# File name: (size of the window, theme, what is done after the first answer)
SHOTS: dict[str, tuple[tuple[int, int], str, Callable[[Any], None]]] = {
    "answer-light": (DESKTOP, "light", sample("coffee")),
    "answer-dark": (DESKTOP, "dark", sample("raccoon")),
    "answer-phone-light": (PHONE, "light", sample("cat")),
    "answer-phone-dark": (PHONE, "dark", sample("rocket")),
    "comparison-light": (DESKTOP, "light", compare),
    "network-dark": (DESKTOP, "dark", drawing),
    "where-light": (DESKTOP, "light", looked),
    "inside-dark": (DESKTOP, "dark", inside),
    "family-light": (DESKTOP, "light", family),
    "code-light": (DESKTOP, "light", code),
    "error-phone-light": (PHONE, "light", heic),
}


@contextmanager
def served() -> Iterator[str]:
    """Start a server with both models."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(SQUEEZENET, folder / SQUEEZENET.name)
        (folder / "squeezenet.toml").write_text(SQUEEZENET_MANIFEST)
        with running_server(
            folder,
            models=f"squeezenet,vgg16,{TRAINED}",
            on_missing_weights="untrained",
            offline="true",
        ) as server:
            server.wait_for(f"{TRAINED}: ready")
            yield server.url


def main(*chosen: str) -> None:
    """Take these, or all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    names = [*(chosen or (*SHOTS, REPORT))]
    with launched() as browser:
        if REPORT in names:
            names.remove(REPORT)
            photograph_report(browser)
        if names:
            with served() as url:
                for name in names:
                    photograph(browser, url, name)


def photograph(browser: Any, url: str, name: str) -> None:
    """Take one of SHOTS."""
    size, scheme, then = SHOTS[name]
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=1 if size == DESKTOP else 2,
    )
    page.goto(url)
    page.wait_for_selector("#panel-result .sum")
    then(page)
    page.wait_for_selector("#panel-result :is(.sum, .trouble)", state="attached")
    page.mouse.move(0, 0)
    if size == PHONE:
        page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(800)  # thumbnails and the live strip
    save(page, name)


def photograph_report(browser: Any) -> None:
    """Evaluate the small VGG on all of its photos, half a minute, and take what the page begins with."""
    with tempfile.TemporaryDirectory() as name:
        photos, file = Photos(Path(name)), Path(name) / "report.html"
        photos.evaluate(None, "--html", file)
        page = browser.new_page(viewport={"width": DESKTOP[0], "height": REPORT_HEIGHT})
        page.goto(file.as_uri())
        save(page, REPORT)


def save(page: Any, name: str) -> None:
    """Save what a page shows, and close it."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = picture.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE)
    small.save(IMAGES / f"{name}.png", optimize=True)
    page.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
