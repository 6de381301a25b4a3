"""How many processors this process may really use."""

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


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
