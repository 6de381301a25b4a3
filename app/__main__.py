"""`python -m app` and `vgg-serve`: signals first, because the imports of a command take a second."""

import os
import signal
import sys

ENDING = (signal.SIGTERM, signal.SIGINT)


def end_at_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once, until a command handles them.

    The kernel drops a signal to process 1 of a container that has no handler. A service ignores
    SIGHUP, by which others are told to read their files again.
    """
    if os.getpid() == 1:
        for number in ENDING:
            signal.signal(number, lambda number, _frame: os._exit(128 + number))
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exception would show what is imported
    if hasattr(signal, "SIGHUP") and sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # the image starts Python with these signals blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


end_at_signals()

from app.cli.commands import main  # noqa: E402 (slow, so it comes after that)

if __name__ == "__main__":
    main()
