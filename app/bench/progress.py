"""How far a measurement is, on a terminal or line by line."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from app.bench.connection import clock
from app.bench.loops import Run
from app.bench.summary import OK


class LiveProgress:
    """A bar for the part that goes on, with what it did since the last look.

    It is drawn only when it is told to: a thread that draws would take its time from the load.
    """

    def __init__(self, bar: Progress, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._task = bar.add_task("starting", total=None, seen="")
        self._looked = (clock(), 0)

    def part(self, title: str, seconds: float | None) -> None:
        """Begin a part that takes so many seconds, if that is known."""
        if not self._console.is_terminal:
            self._console.print(title)
        self._looked = (clock(), 0)
        self._bar.reset(self._task, description=title, total=seconds, seen="")
        self._bar.refresh()

    def tick(self, run: Run) -> None:
        """Look at a run that goes on."""
        now, (before, seen) = clock(), self._looked
        news = run.samples[seen:]
        answers = [sample.outcome.answer for sample in news]
        good = sum(answer is not None and answer.status == OK for answer in answers)
        self._looked = (now, seen + len(news))
        rate = good / (now - before) if now > before else 0.0
        notes = [f"{rate:,.0f}/s", f"{run.in_flight} in flight"]
        if len(news) > good:
            notes.append(f"[red]{len(news) - good} not 200[/]")
        if now < run.counted_from:
            notes.append("warming up")
        elif now > run.counted_to:
            notes.append("waiting for the last answers")
        total = self._bar.tasks[0].total or 0.0
        done = total - max(0.0, run.counted_to - now)
        self._bar.update(self._task, completed=done, seen=", ".join(notes))
        self._bar.refresh()


@contextmanager
def live_progress(console: Console) -> Iterator[LiveProgress]:
    """Show how far a measurement is; without a terminal, a line for each part."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not console.is_terminal,
    )
    with bar:
        yield LiveProgress(bar, console)
