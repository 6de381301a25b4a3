"""Photograph the page in its main states, into docs/images: `python -m tests.browser.screenshots`.

It starts the server by itself, with the real SqueezeNet of ../shared/data and an untrained
VGG-16 of the true size (1 GB of disk for the while, 3 GB of memory).
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.stage import launched, pick
from tests.conftest import REPOSITORY, SQUEEZENET, SQUEEZENET_MANIFEST, running_server

IMAGES = REPOSITORY / "docs" / "images"
DESKTOP, PHONE = (1280, 900), (390, 844)
COLOURS = 256  # of the palette: enough at this size, and a third of the bytes


def compare(page: Any) -> None:
    """Show two models side by side."""
    pick(page, "Compare with", "vgg16")
    page.wait_for_selector(".verdict[data-agree]")


def drawing(page: Any) -> None:
    """Show the layers of VGG-16."""
    page.locator("#network").evaluate("section => section.scrollIntoView()")


def code(page: Any) -> None:
    """Show the request as code."""
    page.get_by_role("tab", name="Code").click()


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
            folder, models="squeezenet,vgg16", on_missing_weights="untrained", offline="true"
        ) as server:
            server.wait_for("vgg16: ready")
            yield server.url


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with served() as url, launched() as browser:
        for name, (size, scheme, then) in SHOTS.items():
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
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            small = picture.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE)
            small.save(IMAGES / f"{name}.png", optimize=True)
            page.close()


if __name__ == "__main__":
    main()
