"""What the browser tests and the screenshots share: a browser and models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.graph.vgg import architecture
from app.web.schemas.models import LayerOut
from tests.conftest import write_colours

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--use-fake-device-for-media-stream",
]

TRAINED = "vgg16-mini"
"""The model that the page asks first: it is in the box, and what it answers means something."""
HOSTILE_LABEL = """<img src=x onerror="document.title='owned'">, '"</script>&amp;"""
"""The label of every class of the model `hostile`, after a number."""


@contextmanager
def launched() -> Iterator[Any]:
    """Start Debian's Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (may not be installed)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def write_models(folder: Path) -> str:
    """Write three models, and return the names for VGG_MODELS.

    The first is vgg16-mini, which is trained; then a tiny network, and one with hostile labels.
    Tiny networks are untrained.
    """
    write_colours(folder, "second")
    write_colours(folder, "hostile")
    manifest = folder / "hostile.toml"
    text = manifest.read_text().replace("imagenet-1k", "hostile")
    manifest.write_text(text.replace("Tells three colours apart", "A <b>hostile</b> one"))
    rows = [f"n{index:08d}\t{index} {HOSTILE_LABEL}" for index in range(1000)]
    (folder / "hostile.tsv").write_text("\n".join(rows) + "\n")
    return f"{TRAINED},second,hostile"


def as_vgg(model: dict[str, Any], name: str = "vgg16") -> dict[str, Any]:
    """Add the layers of a VGG to what GET /models/{name} says of another network."""
    config = architecture(name)
    return model | {
        "title": f"VGG-{name.removeprefix('vgg')}",
        "configuration": config.configuration,
        "parameters": config.parameters(),
        "multiply_adds": config.multiply_adds(),
        "layers": [LayerOut.model_validate(row).model_dump() for row in config.layers()],
    }


def expect(what: Any) -> Any:
    """Return Playwright's assertions, which wait."""
    from playwright import sync_api  # noqa: PLC0415 (may not be installed)

    return sync_api.expect(what)


def pick(page: Any, label: str, value: str) -> None:
    """Choose from a list with the keyboard, as a person does."""
    choice = page.get_by_label(label, exact=True)
    choice.focus()
    key = "ArrowDown" if value else "ArrowUp"
    while choice.input_value() != value:
        page.keyboard.press(key)


def noting(part: str, asked: list[str]) -> Any:
    """Prepare a page so that each address with this part that it asks for is noted."""

    def note(request: Any) -> None:
        if part in request.url:
            asked.append(request.url)

    return lambda page: page.on("request", note)
