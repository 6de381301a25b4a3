"""How many processors this process may really use, and of which kind they are."""

import math
import os
import platform
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO = Path("/proc/cpuinfo")
_TELLING = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")


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
