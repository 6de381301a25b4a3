"""What a command takes from its environment."""

import sys
from pathlib import Path

import pytest

from app.cli.environment import started_as

HERE = Path("/home/ada/vgg-serve")


@pytest.mark.parametrize(
    ("program", "on_path", "shown"),
    [
        ("/home/ada/vgg-serve/.venv/bin/vgg-serve", None, ".venv/bin/vgg-serve"),
        ("/opt/venv/bin/vgg-serve", None, "/opt/venv/bin/vgg-serve"),
        ("/opt/venv/bin/vgg-serve", "/usr/bin/vgg-serve", "/opt/venv/bin/vgg-serve"),
        ("/opt/venv/bin/vgg-serve", "/opt/venv/bin/vgg-serve", "vgg-serve"),
        ("/home/ada/vgg-serve/app/__main__.py", None, f"{sys.executable} -m app"),
    ],
)
def test_the_help_shows_the_command_as_it_was_started(program, on_path, shown):
    """A command line that is copied from the help works in the same place."""
    assert shown == started_as(program, HERE, on_path)
