"""What is shown meanwhile, and at the end."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.files import Trouble
from app.cli.predict.progress import EVERY, Report
from app.cli.predict.result import FileResult

GOOD = FileResult(Path("a"))
BAD = FileResult(Path("b"), trouble=Trouble("empty [red]", "The file is empty."))


@pytest.fixture
def shown(turned):
    """Return what is shown while results come, one every `seconds`."""

    def shown(results, *, seconds=0.0, total=None, stopped=False, terminal=False, **options):
        console = Console(file=io.StringIO(), width=200, force_terminal=terminal)

        async def main():
            loop = asyncio.get_running_loop()
            options.setdefault("bar", False)
            report = Report(console, total or len(results), clock=loop.time, **options)
            async with report:
                for result in results:
                    await asyncio.sleep(seconds)
                    report.add(result)
            report.summarise(stopped=stopped)

        turned(main())
        return console.file.getvalue()  # type: ignore[attr-defined]

    return shown


def test_the_summary_counts_all(shown):
    """Three lines: the numbers, the failures, the skipped files."""
    assert [
        "1 classified, 1 failed, 0 skipped in 2.0 s (0.5 per second)",
        "failed: 1 empty [red]",
    ] == shown([GOOD, BAD], seconds=1).splitlines()


def test_an_early_end_is_told(shown):
    """Ctrl-C leaves the numbers up to then, and nothing if there are none."""
    assert shown([GOOD], total=9, stopped=True).startswith("stopped: 1 classified")
    assert not shown([], total=9, stopped=True)


@pytest.mark.parametrize("options", [{"quiet": True}, {"total": 1}])
def test_silence_is_kept(shown, options):
    """With --quiet, and for a single file, there is no summary."""
    assert not shown([GOOD], **options)


def test_without_a_bar_there_is_a_line_now_and_then(shown):
    """Every ten seconds, also while no result comes, with the reason."""
    lines = shown([GOOD, GOOD], seconds=1.5 * EVERY, waiting_for=lambda: "busy").splitlines()

    assert [
        "0 of 2 files: 0 classified, 0 failed, 0 skipped in 10.0 s (0.0 per second); waiting: busy",
        "1 of 2 files: 1 classified, 0 failed, 0 skipped in 20.0 s (0.1 per second); waiting: busy",
    ] == lines[:2]


def test_the_bar_is_on_the_terminal_alone(shown, capsys):
    """It is drawn there, goes away, and leaves standard output as it is."""
    text = shown([GOOD, GOOD], terminal=True, bar=True, seconds=1)

    assert "2/2" in text
    assert "2 classified" in text.splitlines()[-1]
    assert not capsys.readouterr().out
