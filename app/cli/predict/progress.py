"""What a person sees meanwhile on standard error, and at the end."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.predict.result import FileResult, Tally
from app.texts import printable

EVERY: Final = 10.0
"""Seconds between two lines, where there is no bar."""


class Report:
    """Counts results and tells about them: with a bar, or with a line now and then.

    The bar is drawn where results go elsewhere than to the terminal it is on: there they are
    progress enough, and the bar would be drawn between them.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        *,
        bar: bool,
        quiet: bool = False,
        waiting_for: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count; `waiting_for` says in a few words why nothing happens, or nothing."""
        self.tally = Tally()
        self._console, self._total, self._quiet = console, total, quiet
        self._waiting_for = waiting_for
        self._clock = clock
        self._began = clock()
        self._lines = not bar and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,  # the results are no part of the bar
            redirect_stderr=False,
            disable=quiet or not bar,
        )
        self._task = self._bar.add_task("classifying", total=total, note="")
        self._ticker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Show the bar, or begin with the lines."""
        self._bar.start()
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Take the bar away."""
        if self._ticker is not None:
            self._ticker.cancel()
        self._bar.stop()

    def add(self, result: FileResult) -> None:
        """Count a result."""
        self.tally.add(result)
        done = min(self.tally.done, self._total)
        self._bar.update(self._task, completed=done, note=self._note())

    def hush(self) -> None:
        """Say nothing from now on."""
        self._quiet = True

    def summarise(self, *, stopped: bool) -> None:
        """Say what became of all files, or of those up to now."""
        if self._quiet or self._total == 1 or (stopped and not self.tally.done):
            return
        begin = "stopped: " if stopped else ""
        self._say(f"{begin}{self.tally.line(self._clock() - self._began)}")
        for line in self.tally.reasons():
            self._say(line)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EVERY if self._lines else 1.0)
            if self._lines:
                files = f"{self.tally.done:,} of {self._total:,} files"
                self._say(f"{files}: {self.tally.line(self._clock() - self._began)}{self._note()}")
            else:
                self._bar.update(self._task, note=self._note())

    def _note(self) -> str:
        waiting_for = printable(self._waiting_for())
        return f"; waiting: {waiting_for}" if waiting_for else ""

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)
