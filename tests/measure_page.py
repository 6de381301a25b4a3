"""Measure the page's size and speed: `.venv/bin/python -m tests.measure_page [MODEL]`.

Prints the bytes of the page with its scripts and style, as they are and as they are sent, and
the time from the navigation to the first answer on a warm server. Each visit has an empty cache.
The model is full-size VGG-16, untrained if its weights are not there;
`squeezenet` is the graph of ../shared/data. Needs Chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import httpx

from app.machine import usable_cpus
from tests.browser.stage import launched
from tests.conftest import SQUEEZENET, SQUEEZENET_MANIFEST, running_server

VISITS = 20
WARM = 3
ANSWERED = """
window.answered = new Promise((resolve) => {
  const look = () => document.querySelector("#panel-result .sum") && resolve(performance.now());
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
});
"""
LOADED = "performance.getEntriesByType('resource').map((entry) => entry.name)"


def visit(browser, url):
    """Open the page with an empty cache; return the milliseconds to its answer and its files."""
    page = browser.new_page()
    page.add_init_script(ANSWERED)
    page.goto(url)
    took, loaded = page.evaluate("answered"), page.evaluate(LOADED)
    page.close()
    return took, {url, *(path for path in loaded if path.endswith((".js", ".css", ".svg")))}


def main(name):
    """Measure with one model and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "squeezenet":
            shutil.copyfile(SQUEEZENET, Path(folder) / SQUEEZENET.name)
            (Path(folder) / "squeezenet.toml").write_text(SQUEEZENET_MANIFEST)
        options = {"models": name, "offline": "true", "on_missing_weights": "untrained"}
        with running_server(Path(folder), **options) as server, launched() as browser:
            visits = [visit(browser, server.url) for _ in range(VISITS + WARM)]
            answers = [httpx.get(path) for path in visits[0][1]]
    times = sorted(took for took, _ in visits[WARM:])
    plain = sum(len(answer.content) for answer in answers)
    sent = sum(int(answer.headers["content-length"]) for answer in answers)
    print(f"{name}, {usable_cpus()} processors, {VISITS} visits")  # noqa: T201
    print(f"page, scripts and style           {plain:6} bytes")  # noqa: T201
    print(f"  as they are sent                {sent:6} bytes")  # noqa: T201
    print(f"first answer, median              {median(times):6.0f} ms")  # noqa: T201
    print(f"  fastest and slowest       {times[0]:6.0f}, {times[-1]:4.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "vgg16")
