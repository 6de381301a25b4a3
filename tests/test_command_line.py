"""How commands are called where a server runs."""

import pytest

from app.command_line import command_line


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
