"""The programs of docs/clients.md run as they stand, but for the address."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PHOTOS, REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "clients.md").read_text()
SECTION = DOCUMENT.split("## Python\n")[1].split("\n## ")[0]
PROGRAMS = re.findall(r"^```py(?:thon)?\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_document_runs(mini_server, tmp_path, program):
    """Each names what is in the photo."""
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg"):
        shutil.copyfile(PHOTOS / "coffee.jpg", tmp_path / name)
    code = program.replace("http://localhost:8000", mini_server.url)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ("", 0) == (ended.stderr, ended.returncode)
    assert "espresso" in ended.stdout


def test_there_are_programs():
    """One photo, many of them, errors, an event loop."""
    assert 4 == len(PROGRAMS)
