"""How many connections this process may hold: each takes a file descriptor."""

import importlib
import logging
from types import ModuleType
from typing import Final

log = logging.getLogger(__name__)

_RESERVE: Final = 128
"""Descriptors for everything else."""


def most_connections(wanted: int, resource: ModuleType | None = None) -> int:
    """Return how many there can be, up to `wanted`; raise the process's own limit for them.

    The limit that a shell sets is often 1024, and the kernel allows far more to those who ask:
    without this, a thousand idle connections would keep out the next one.

    Args:
        wanted: Connections.
        resource: The module of this name; None takes it where the system has it.
    """
    try:
        resource = resource or importlib.import_module("resource")
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    if hard != resource.RLIM_INFINITY and hard < needed:
        needed = hard
        log.warning("only %d connections: the limit of open files is %d", hard - _RESERVE, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return max(1, needed - _RESERVE)
