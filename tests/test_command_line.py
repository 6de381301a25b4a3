"""How commands are called where they run."""

import sys
from pathlib import Path

import pytest

from app.command_line import command_line, started_as, with_network

HERE = Path("/home/ada/vgg-serve")


@pytest.fixture
def environment(tmp_path):
    """The Python of an environment in a clone, without and with vgg-serve in it."""
    folder = tmp_path / "clone" / ".venv" / "bin"
    folder.mkdir(parents=True)
    return folder / "python"


def install(python):
    script = python.with_name("vgg-serve")
    script.touch(mode=0o755)


def test_a_command_line_that_works_where_the_server_runs(environment, monkeypatch):
    """It is what can be typed in the clone, or anywhere if the shell finds it; no folder above is told."""
    assert "python -m app" == command_line(environment)
    install(environment)
    assert ".venv/bin/vgg-serve" == command_line(environment)
    monkeypatch.setenv("PATH", str(environment.parent), prepend=":")
    assert "vgg-serve" == command_line(environment)


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


@pytest.mark.parametrize(
    ("forbidden_by", "expected"),
    [(None, "vgg-serve"), ("VGG_OFFLINE", "VGG_OFFLINE=false vgg-serve")],
)
def test_a_command_that_needs_the_network_may_use_it(forbidden_by, expected):
    """A server that is kept offline advises a command that works as it stands."""
    assert expected == with_network("vgg-serve", forbidden_by)
