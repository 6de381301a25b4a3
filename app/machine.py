"""The processors, memory and file descriptors that this process may use."""

import ctypes
import importlib
import logging
import math
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final

log = logging.getLogger(__name__)

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO = Path("/proc/cpuinfo")
_IDENTIFYING = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")

_RESERVE: Final = 128
"""File descriptors for everything that is not a connection."""


def usable_cpus(cpu_max: Path = _CPU_MAX) -> int:
    """Count the processors within the affinity mask and the container's quota, at least 1.

    Libraries count the processors of the host: far too many threads in a container with a quota
    (microsoft/onnxruntime#29510).

    Args:
        cpu_max: `quota period` in microseconds, or `max period` (cgroup v2).
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2, or no quota
    return max(1, allowed)


def processor(cpu_info: Path = _CPU_INFO) -> str:
    """Describe the kind of processor; it is the same on two machines only if code runs alike on both.

    Args:
        cpu_info: Lines of `name : value`, as on Linux.
    """
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    properties = dict(line.split(":", 1) for line in lines if ":" in line)
    found = [v.strip() for name, v in properties.items() if name.strip() in _IDENTIFYING]
    return "; ".join(found) or f"{platform.machine()} {platform.processor()}"


def return_freed_memory() -> None:
    """Make glibc return the freed memory of all threads to the system; elsewhere do nothing."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def most_connections(wanted: int, resource: ModuleType | None = None) -> int:
    """Return the connections that can be open, up to `wanted`, and raise the limit of open files for them.

    A shell often sets this limit to 1024, though the kernel allows a process to raise it: without
    that, a thousand idle connections would block the next one.

    Args:
        wanted: Connections.
        resource: A fake of the module `resource`; None imports it if the system has it.
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
        log.warning(
            "only %d of %d connections: raise the limit of open files, %d (ulimit -Hn)",
            hard - _RESERVE,
            wanted,
            hard,
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return max(1, needed - _RESERVE)
