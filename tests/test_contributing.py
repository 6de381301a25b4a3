"""CONTRIBUTING.md shows the code as it is: its packages, and the modules that a photo passes."""

import re
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from app.service.app import create_app
from app.service.settings import Settings
from tests.conftest import PHOTOS, REPOSITORY, client_of

pytestmark = pytest.mark.anyio

MOST: Final = 19
"""Modules that a photo may pass, so that one person can read them all."""

TEXT: Final = (REPOSITORY / "CONTRIBUTING.md").read_text()

NEEDS_A_SOCKET: Final = {"app/web/connection/protocol.py"}
"""What a request inside this process does not pass."""


def listed(title: str, pattern: str) -> list[str]:
    """Return what begins the lines of the block below a headline."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"^{pattern}", section.split("```")[1], re.MULTILINE)


def test_the_map_has_every_package():
    """One line per folder in app/, and beside them only the modules that the text names."""
    folders = {path.parent.name for path in (REPOSITORY / "app").glob("*/__init__.py")}
    files = {path.name for path in (REPOSITORY / "app").glob("*.py")}

    assert folders == {line.split("/")[1] for line in listed("Where things are", r"app/\w+/")}
    beside = {
        "command_line.py",
        "errors.py",
        "machine.py",
        "records.py",
        "setup_errors.py",
        "texts.py",
    }
    assert beside == files - {"__init__.py", "__main__.py"}
    assert 12 == len(folders)


class Recorder:
    """Records the modules of app/ whose functions are called, in all threads started meanwhile."""

    def __init__(self) -> None:
        self.recording = False
        self.modules: set[str] = set()

    def __enter__(self):
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame, event: str, _argument: object) -> None:
        if self.recording and event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(REPOSITORY / "app"):
                self.modules.add(path.relative_to(REPOSITORY).as_posix())


async def test_a_photo_passes_the_modules_that_contributing_names(model_dir):
    """One JPEG, a real model, no API keys: these modules and no others, at most MOST."""
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    with Recorder() as recorder:
        app = create_app(Settings(models=("colours",), model_dir=model_dir))
        async with app.router.lifespan_context(app), client_of(app) as client:
            await app.state.loading
            await client.post("/predict", content=photo)  # later ones start no thread
            recorder.recording = True
            answer = await client.post("/predict", content=photo)
            recorder.recording = False

    assert 200 == answer.status_code
    way = listed("The way of one photo", r"app/[\w/]+\.py")
    assert set(way) == recorder.modules | NEEDS_A_SOCKET
    assert len(way) <= MOST
