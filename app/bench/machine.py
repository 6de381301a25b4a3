"""Where it was measured, and with which versions."""

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from app import __version__
from app.machine import usable_cpus

_PACKAGES: Final = (
    "onnxruntime", "onnxruntime-gpu", "torch", "numpy", "pillow", "httptools", "uvloop",
)  # fmt: skip


def describe_machine() -> dict[str, str | int]:
    """Name the processor, how much of it there is, the system and the Python."""
    return {
        "cpu": _cpu(),
        "cpus_usable": usable_cpus(),
        "cpus_of_host": os.cpu_count() or 1,
        "platform": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Tell the versions of what matters and is installed."""
    found = {"vgg-serve": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
