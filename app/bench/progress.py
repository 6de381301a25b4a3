"""The progress of a measurement, as a bar on a terminal or line by line."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from app.bench.client_connection import clock
from app.bench.loops import LoadRun
from app.bench.summary import OK


class LiveProgress:
    """A bar for the current part, with what happened since the last look.

    It is drawn only in `part` and `tick`: a thread that draws would take its time from the load.
    """

    def __init__(self, bar: Progress, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._task = bar.add_task("starting", total=None, seen="")
        self._last_look = (clock(), 0)

    def part(self, title: str, seconds: float | None) -> None:
        """Begin a part, which takes so many seconds if that is known."""
        if not self._console.is_terminal:
            self._console.print(title)
        self._last_look = (clock(), 0)
        self._bar.reset(self._task, description=title, total=seconds, seen="")
        self._bar.refresh()

    def tick(self, run: LoadRun) -> None:
        """Show the load that is running."""
        now, (before, seen) = clock(), self._last_look
        self._last_look = (now, len(run.samples))
        codes = [sample.outcome.status for sample in run.samples[seen:]]
        good = codes.count(OK)
        rate = good / (now - before) if now > before else 0.0
        notes = [f"{rate:,.0f}/s", f"{run.in_flight} in flight"]
        if len(codes) > good:
            notes.append(f"[red]{len(codes) - good} not 200[/]")
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
    """Show progress; without a terminal, a line for each part."""
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
