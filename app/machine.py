"""The processors, memory and file descriptors that this process may use."""

import ctypes
import importlib
import logging
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Final

log = logging.getLogger(__name__)

_CUSTOMARY: Final = (
    ("cgroup2", "/", "/sys/fs/cgroup"),
    ("cgroup", "/", "/sys/fs/cgroup/cpu"),
    ("cgroup", "/", "/sys/fs/cgroup/cpu,cpuacct"),
)
"""Where control groups are if /proc does not say it."""
_TOP, _PLACE = 3, 4
"""Of a line of mountinfo: the folder of the file system that is mounted, and where (man proc)."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_CPU_INFO = Path("/proc/cpuinfo")
_BYTE_SUMS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "svei8mm"})
"""Names that Linux gives to what multiplies bytes and sums in 32 bits: VNNI and AMX of x86, dot products of ARM."""
_IDENTIFYING = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")

_RESERVE: Final = 128
"""File descriptors for everything that is not a connection."""


def usable_cpus(root: Path = Path("/")) -> int:
    """Count the processors within the affinity mask and the quotas of all control groups, at least 1.

    Libraries count the processors of the host: far too many threads in a container with a quota
    (microsoft/onnxruntime#29510).

    Args:
        root: Where /proc and /sys are.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = min(map(_quota, _control_groups(root)), default=math.inf)
    return max(1, allowed if quota >= allowed else math.ceil(quota))


def _control_groups(root: Path) -> Iterator[Path]:
    """Find the folders of this process's control groups (cgroups), and of the groups around them.

    Groups are nested, and the least quota counts: that of a service is in its own group, that of
    its container in one above. The kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
    """
    own = {}
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, path = line.partition(":")[2].partition(":")
        if "cpu" in controllers.split(","):
            own["cgroup"] = path
        elif not controllers:
            own["cgroup2"] = path
    for kind, top, place in (*_mounted(root), *_CUSTOMARY):
        inside = PurePosixPath(
            "."
        )  # of what a container sees, if its group has another name outside
        with suppress(ValueError, KeyError):
            inside = PurePosixPath(own[kind]).relative_to(top)
        if ".." in inside.parts:
            inside = PurePosixPath()
        for group in (inside, *inside.parents):
            yield root / place.lstrip("/") / group


def _mounted(root: Path) -> Iterator[tuple[str, str, str]]:
    """List the mounts of control groups that can have quotas: kind, the group on top, the folder."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, *options = after.split(" ")
        fields = [_ESCAPED.sub(lambda found: chr(int(found[1], 8)), f) for f in before.split(" ")]
        groups = kind == "cgroup2" or (kind == "cgroup" and "cpu" in options[-1].split(","))
        if groups and len(fields) > _PLACE:
            yield kind, fields[_TOP], fields[_PLACE]


def _quota(group: Path) -> float:
    """Return the processors that a control group may use; infinity for no quota, or no such group."""
    try:
        if (group / "cpu.max").exists():
            quota, period = _lines(group / "cpu.max")[0].split()
        else:
            [quota] = _lines(group / "cpu.cfs_quota_us")
            [period] = _lines(group / "cpu.cfs_period_us")
        processors = int(quota) / int(period)
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return math.inf
    return processors if processors > 0 else math.inf


def _lines(path: Path) -> list[str]:
    """Read a file; it counts as empty if it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


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


def sums_bytes(
    cpu_info: Path = _CPU_INFO, system: str = sys.platform, kind: str = platform.machine()
) -> bool:
    """Return whether every processor multiplies bytes fast, and sums the products in 32 bits.

    Without VNNI, onnxruntime's kernels for x86 sum pairs of products in 16 bits: that overflows,
    which no error tells, and is slow. Where the system does not say what a processor can do, the
    answer is False, except for Apple's own, all of which have dot products.

    Args:
        cpu_info: Lines of `name : value` for each processor, as on Linux.
        system: `linux` or `darwin`, as `sys.platform` says it.
        kind: As `platform.machine` says it.
    """
    if system == "darwin":
        return kind == "arm64"
    lines = (line.partition(":") for line in _lines(cpu_info))
    flags = [value.split() for name, _, value in lines if name.strip() in {"flags", "Features"}]
    return bool(flags) and all(_BYTE_SUMS.intersection(one) for one in flags)


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
