"""How to call `vgg-serve` where this process runs, for commands in the page and the log."""

import shutil
from pathlib import Path


def command_line(python: Path) -> str:
    """Return how to call `vgg-serve` where this server runs, without the path of a folder above its environment.

    `vgg-serve` where the shell finds it, `.venv/bin/vgg-serve` in a clone, `python -m app` where
    it is not installed, as in the container.
    """
    script = python.with_name("vgg-serve")
    if not script.exists():
        return "python -m app"
    if shutil.which(script.name) == str(script):
        return script.name
    return Path(*script.parts[-3:]).as_posix()
