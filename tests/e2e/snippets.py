"""Code blocks of documents, run as they stand but for the address, the model, the photo and the key."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def snippets(document: str, language: str) -> list[str]:
    """Return the blocks of a language, in order."""
    text = (REPOSITORY / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_snippet(code: str, language: str, folder: Path, **env: str) -> str:
    """Run a block in a folder and return what it prints; it must succeed."""
    suffix, *command = {
        "python": (".py", sys.executable),
        "js": (".mjs", "node"),
        "sh": (".sh", "sh", "-e"),
    }[language]
    file = folder / f"snippet{suffix}"
    file.write_text(code)
    ended = subprocess.run(
        [*command, file],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == ended.returncode, (code, ended)
    return ended.stdout
