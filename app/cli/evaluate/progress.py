"""How far an evaluation is: a bar on a terminal, or a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY: Final = 10.0
"""Seconds between two lines, where there is no bar."""


@contextmanager
def progress(
    console: Console, title: str, total: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[], None]]:
    """Show a bar; what is yielded is called for each photo."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task, count, said = bar.add_task(title, total=total), 0, clock()

    def step() -> None:
        nonlocal count, said
        count += 1
        bar.update(task, completed=count)
        if not console.is_terminal and clock() - said >= EVERY:
            said = clock()
            line = f"{title}: {count:,} of {total:,} photos"
            console.print(line, soft_wrap=True, markup=False, highlight=False)

    with bar if console.is_terminal else nullcontext():  # a log would get an empty line of it
        yield step
