"""An evaluation says how far it is: by a bar on a terminal, by a line now and then elsewhere."""

import io

from rich.console import Console

from app.cli.evaluate.progress import EVERY, progress


def _said(*, terminal: bool, seconds: float) -> str:
    times = iter([0.0, *(seconds * (n + 1) for n in range(100))])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with progress(console, "vgg16", 3000, clock=lambda: next(times)) as done:
        for _ in range(6):
            done()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_a_line_now_and_then():
    """Every ten seconds, and nothing besides."""
    expected = "vgg16: 2 of 3,000 photos\nvgg16: 4 of 3,000 photos\nvgg16: 6 of 3,000 photos\n"

    assert expected == _said(terminal=False, seconds=EVERY / 2)
    assert not _said(terminal=False, seconds=0.1)


def test_a_terminal_gets_a_bar():
    """With the number of photos."""
    assert "3000" in _said(terminal=True, seconds=0.1)
