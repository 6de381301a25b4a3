"""`vgg-serve evaluate` in the process of the tests, which has imported already what a command needs."""

import os
import sys

import pytest

from app.cli.commands import main


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Call `vgg-serve evaluate` with arguments and an environment; return status, output, what was said."""

    def evaluate(*arguments, **environment):
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith("VGG_"):
                    patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["vgg-serve", "evaluate", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return ended.value.code, *capsys.readouterr()

    return evaluate
