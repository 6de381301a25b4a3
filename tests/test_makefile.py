"""`make` leaves no half-made environment: what failed or was killed goes on with the next call."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PYTHON = r"""#!/bin/sh
# Stands for the system's Python and, copied by `-m venv`, for that of the environment; notes what it is asked for.
case "$*" in
  "-c "?*) exit 0 ;;
  "-c ") exec test -e .venv/whole ;;
esac
echo "$*" >> calls
case "$*" in
  *"-m venv"*)
    rm -rf .venv
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    touch .venv/whole
    test ! -e without-ensurepip || { echo "ensurepip is not available"; exit 1; }
    test ! -e killed-in-venv || kill -9 $PPID
    ;;
  *"-m pip"*)
    test ! -e without-network || exit 1
    test ! -e killed-in-pip || kill -9 $PPID
    ;;
esac
"""

VENV = "-m venv --clear .venv"
PIP = "-m pip install --quiet --disable-pip-version-check"
PACKAGES = f"{PIP} --require-hashes -r requirements/cpu.txt"
SERVICE = f"{PIP} --no-deps --no-build-isolation -e ."


@pytest.fixture
def checkout(tmp_path):
    """A folder with the Makefile and a Python that does as it is told."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("cpu.txt", "dev.txt"):
        (tmp_path / "requirements" / name).touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(checkout: Path, target: str = ".venv/served") -> tuple[int, str, list[str]]:
    """Run make; return its exit status, what it says, and what Python was asked for."""
    (checkout / "calls").write_text("")
    ended = subprocess.run(
        ["make", "PYTHON=./python", target],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    calls = (checkout / "calls").read_text().splitlines()
    return ended.returncode, ended.stdout + ended.stderr, calls


def failing(checkout: Path, how: str, target: str = ".venv/served") -> str:
    """Run make once while something fails; return what it says."""
    (checkout / how).touch()
    status, said, _ = make(checkout, target)
    (checkout / how).unlink()
    assert status
    return said


def test_environment_is_made_once(checkout):
    """The first call makes everything and the second nothing."""
    assert (0, [VENV, PACKAGES, SERVICE]) == make(checkout)[::2]
    assert (0, []) == make(checkout)[::2]


def test_without_ensurepip(checkout):
    """A Python without ensurepip, as Debian's is, fails with the package to install, and leaves nothing."""
    said = failing(checkout, "without-ensurepip")

    assert "apt install python3-venv" in said
    assert not (checkout / ".venv").exists()
    assert (0, [VENV, PACKAGES, SERVICE]) == make(checkout)[::2]


@pytest.mark.parametrize("how", ["killed-in-venv", "killed-in-pip"])
def test_killed(checkout, how):
    """What was killed in the middle is made anew: pip takes half a package for a whole one."""
    failing(checkout, how)

    assert (0, [VENV, PACKAGES, SERVICE]) == make(checkout)[::2]
    assert (0, []) == make(checkout)[::2]


def test_without_a_network(checkout):
    """Where pip fails by itself, the next call goes on with the same environment."""
    failing(checkout, "without-network")

    assert (0, [PACKAGES, SERVICE]) == make(checkout)[::2]


def test_a_developers_packages_that_fail_leave_the_service(checkout):
    """A failure in the packages for developers costs the user nothing."""
    make(checkout)
    failing(checkout, "without-network", ".venv/developed")

    assert (0, []) == make(checkout)[::2]


def test_python_that_has_gone(checkout):
    """After an upgrade of the system removed the Python of the environment, it is made anew, packages included."""
    make(checkout)
    (checkout / ".venv/whole").unlink()

    assert (0, [VENV, PACKAGES, SERVICE]) == make(checkout)[::2]


def test_environment_of_an_older_makefile(checkout):
    """A finished environment without the new mark stays; an unfinished one does not."""
    make(checkout)
    (checkout / ".venv/made").unlink()

    assert (0, []) == make(checkout)[::2]

    (checkout / ".venv/made").unlink()
    (checkout / ".venv/served").unlink()

    assert (0, [VENV, PACKAGES, SERVICE]) == make(checkout)[::2]
