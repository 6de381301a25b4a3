"""The progress of a measurement, as a bar on a terminal or line by line."""

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from app.bench.client import OK, clock
from app.bench.loops import LoadRun


class LiveProgress(Progress):
    """A bar for the current part, with what happened since the last look.

    It is drawn only in `part` and `tick`: a thread that draws would take its time from the load.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[seen]}"),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._task = self.add_task("starting", total=None, seen="")
        self._last_look = (clock(), 0)

    def part(self, title: str, seconds: float | None) -> None:
        """Begin a part, which takes so many seconds if that is known; a log gets a line for it."""
        if not self.console.is_terminal:
            self.console.print(title)
        self._last_look = (clock(), 0)
        self.reset(self._task, description=title, total=seconds, seen="")
        self.refresh()

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
        done = (self.tasks[0].total or 0.0) - max(0.0, run.counted_to - now)
        self.update(self._task, completed=done, seen=", ".join(notes))
        self.refresh()
