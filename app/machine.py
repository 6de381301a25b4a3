"""This machine: the processors, memory and file descriptors that this process may use."""

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
_TELLING = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")

_RESERVE: Final = 128
"""Descriptors for everything else."""


def usable_cpus(cpu_max: Path = _CPU_MAX) -> int:
    """Count the processors that the affinity mask and the container's quota leave, at least 1.

    Libraries count the processors of the host, which in a container with a quota gives far
    too many threads (microsoft/onnxruntime#29510).

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
    """Describe the kind of processor: equal on two machines only if code runs equally well on both.

    Args:
        cpu_info: One line a property, `name : value`, as Linux has it.
    """
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    properties = dict(line.split(":", 1) for line in lines if ":" in line)
    told = [v.strip() for name, v in properties.items() if name.strip() in _TELLING]
    return "; ".join(told) or f"{platform.machine()} {platform.processor()}"


def return_freed_memory() -> None:
    """Let glibc give back what was freed, of all threads; does nothing elsewhere."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


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
