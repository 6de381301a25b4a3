"""How to call `vgg-serve` where this process runs, for the commands that the page, the log and help texts advise."""

import shutil
import sys
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


def with_network(command: str, forbidden_by: str | None) -> str:
    """Return a command that may use the network where a variable forbids it to the server."""
    return f"{forbidden_by}=false {command}" if forbidden_by else command


def started_as(program: str, folder: Path, on_path: str | None) -> str:
    """Return how this command was started, so that the command lines in its help work.

    Args:
        program: The script, `sys.argv[0]`.
        folder: Where the user is.
        on_path: The vgg-serve that a shell finds, if it finds one.
    """
    script = Path(program).absolute()
    if script.name == "__main__.py":
        command, rest = Path(sys.executable), " -m app"
    elif on_path is not None and Path(on_path).absolute() == script:
        return script.name
    else:
        command, rest = script, ""
    near = command.relative_to(folder) if command.is_relative_to(folder) else command
    return f"{near}{rest}"
