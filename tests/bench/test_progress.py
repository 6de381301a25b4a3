import io

from rich.console import Console

from app.bench.client import clock
from app.bench.loops import LoadRun
from app.bench.progress import LiveProgress
from tests.bench.conftest import sample


def watch(*, terminal):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120, color_system=None)
    run = LoadRun(clock() - 1, clock() + 9, in_flight=3)
    with LiveProgress(console) as progress:
        progress.part("1/3 16 connections", 10)
        run.samples += [sample(1, 0.1), sample(1, 0.1, 503), sample(1, 0.1, 0)]
        progress.tick(run)
        progress.part("2/3 session.run alone", None)
    return screen.getvalue()


def test_terminal_shows_the_current_part():
    """Each tick shows the rate, the requests in flight, and the answers other than 200."""
    shown = watch(terminal=True)

    assert "1/3 16 connections" in shown
    assert "/s, 3 in flight, 2 not 200" in shown
    assert "2/3 session.run alone" in shown


def test_without_a_terminal_each_part_is_a_line():
    """A log gets one line per part and nothing else."""
    assert ["1/3 16 connections", "2/3 session.run alone"] == watch(terminal=False).splitlines()
