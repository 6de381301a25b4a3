"""Container quotas, freed memory and the limit of open files."""

import os
import subprocess
import sys

import pytest

from app.machine import most_connections, processor, usable_cpus
from tests.conftest import REPOSITORY

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("max 100000\n", ALL),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("100001 100000\n", min(ALL, 2)),
        ("200000 100000\n", min(ALL, 2)),
        ("25000 50000\n", 1),
        ("99900000 100000\n", ALL),
    ],
)
def test_quota_rounds_up_within_the_mask(tmp_path, content, count):
    """Half a processor counts as one; a quota above the affinity mask does not extend it."""
    path = tmp_path / "cpu.max"
    path.write_text(content)

    assert count == usable_cpus(path)


@pytest.mark.parametrize("content", ["", "max", "a b", "1 2 3", "\u00b9 \u00b2"])
def test_what_is_no_quota_is_ignored(tmp_path, content):
    """A file in another format leaves the affinity mask."""
    path = tmp_path / "cpu.max"
    path.write_text(content)

    assert ALL == usable_cpus(path)


def test_without_cgroups(tmp_path):
    """Without the file, as on a Mac, the affinity mask decides."""
    assert ALL == usable_cpus(tmp_path / "cpu.max")


def test_this_machine():
    """The real file gives at least one processor and at most the affinity mask."""
    assert 1 <= usable_cpus() <= ALL


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="has no affinity masks")
def test_affinity_mask(tmp_path):
    """A process pinned to one processor uses one."""
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert 1 == usable_cpus(tmp_path / "cpu.max")
    finally:
        os.sched_setaffinity(0, mask)


def test_a_processor_is_identified_by_its_features(tmp_path):
    """Processors of one kind are equal whatever their current clock; one with fewer features differs."""
    path = tmp_path / "cpuinfo"

    def told(**changes):
        lines = {"model name": "Zen", "cpu MHz": "3000.1", "flags": "fpu avx2 avx512f"} | changes
        one = "\n".join(f"{name}\t: {value}" for name, value in lines.items())
        path.write_text(f"{one}\n\n{one}\n")
        return processor(path)

    assert told() == told(**{"cpu MHz": "2412.7"})
    assert told() != told(flags="fpu avx2")
    assert "Zen" in told()


def test_a_machine_without_cpuinfo_has_a_name_too(tmp_path):
    """Not every system is Linux."""
    assert processor(tmp_path / "none").strip()


FREE_HALF = """
from pathlib import Path
from app.machine import return_freed_memory

def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

pieces = [bytes(50_000) for _ in range(2000)]
high = resident()
del pieces[:-1]
return_freed_memory()
print(high - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")
def test_freed_memory_goes_back():
    """After all small pieces but the last are freed, the system has most of their memory again."""
    child = subprocess.run(
        [sys.executable, "-c", FREE_HALF], cwd=REPOSITORY, capture_output=True, check=True
    )

    assert int(child.stdout) > 50e6


class Limits:
    """A fake of the module `resource`."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = -1

    def __init__(self, soft, hard):
        self.limits = (soft, hard)

    def getrlimit(self, which):
        assert self.RLIMIT_NOFILE == which
        return self.limits

    def setrlimit(self, which, limits):
        assert self.RLIMIT_NOFILE == which
        self.limits = limits


@pytest.mark.parametrize(
    ("limits", "expected", "after"),
    [
        ((1024, 1_000_000), 4096, (4224, 1_000_000)),
        ((1024, -1), 4096, (4224, -1)),
        ((1024, 2048), 1920, (2048, 2048)),
        ((20_000, 20_000), 4096, (20_000, 20_000)),
        ((-1, -1), 4096, (-1, -1)),
    ],
)
def test_limit_of_the_process_is_raised_as_far_as_it_goes(limits, expected, after):
    """The soft limit is raised for the connections, up to the hard limit."""
    module = Limits(*limits)

    assert expected == most_connections(4096, module)  # type: ignore[arg-type] # a fake
    assert after == module.limits
