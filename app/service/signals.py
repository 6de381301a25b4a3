"""How a command ends by a signal."""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn


def interrupt_commands() -> None:
    """Have SIGINT raise KeyboardInterrupt from now on, so that commands can tidy up."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_by(number: int) -> NoReturn:
    """End this process by a signal: its parent sees which, and a shell shows 128 + number."""
    if number != signal.SIGINT:  # which ends with 130, as in other commands
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    end_with(128 + number)  # process 1 cannot end itself by a signal


def end_with(status: int) -> NoReturn:
    """End this process at once: threads that load a model or decode are not waited for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(status)
