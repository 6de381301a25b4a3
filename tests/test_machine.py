"""Container quotas, freed memory and the limit of open files."""

import os
import subprocess
import sys

import pytest

from app.machine import most_connections, processor, sums_bytes, usable_cpus
from tests.conftest import REPOSITORY

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


V2 = "25 20 0:22 {top} {place} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "34 31 0:31 {top} {place} rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def host(root, groups, mounts, quotas):
    """Make /proc and /sys as a process sees them: its groups, the mounts, and a quota for each folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(groups) + "\n")
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    for folder, quota in quotas.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        if "/cpu" in folder:
            of_v1, period = quota.split()
            (root / folder / "cpu.cfs_quota_us").write_text(f"{of_v1}\n")
            (root / folder / "cpu.cfs_period_us").write_text(f"{period}\n")
        else:
            (root / folder / "cpu.max").write_text(f"{quota}\n")
    return root


@pytest.fixture
def many(monkeypatch):
    """A machine with 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("max 100000", 64),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("100001 100000", 2),
        ("250000 100000", 3),
        ("25000 50000", 1),
        ("99900000 100000", 64),
        ("", 64),
        ("max", 64),
        ("a b", 64),
        ("1 2 3", 64),
        ("0 0", 64),
        ("\u00b9 \u00b2", 64),
    ],
)
@pytest.mark.usefixtures("many")
def test_quota_rounds_up_within_the_mask(tmp_path, content, count):
    """Half a processor counts as one; a quota above the affinity mask does not extend it; what is none is ignored."""
    root = host(tmp_path, ["0::/"], [], {"sys/fs/cgroup": content})

    assert count == usable_cpus(root)


@pytest.mark.parametrize(
    ("groups", "mounts", "quotas", "count"),
    [
        pytest.param(
            ["0::/"],
            [V2.format(top="/", place="/sys/fs/cgroup")],
            {"sys/fs/cgroup": "300000 100000"},
            3,
            id="v2, a container",
        ),
        pytest.param(
            ["0::/system.slice/vgg.service"],
            [V2.format(top="/", place="/sys/fs/cgroup")],
            {
                "sys/fs/cgroup/system.slice/vgg.service": "200000 100000",
                "sys/fs/cgroup/system.slice": "max 100000",
            },
            2,
            id="v2, a service of systemd",
        ),
        pytest.param(
            ["0::/a/b/c"],
            [V2.format(top="/", place="/sys/fs/cgroup")],
            {
                "sys/fs/cgroup/a/b/c": "800000 100000",
                "sys/fs/cgroup/a/b": "max 100000",
                "sys/fs/cgroup/a": "400000 100000",
            },
            4,
            id="v2, a group above has less",
        ),
        pytest.param(
            ["5:cpuset:/", "4:cpu,cpuacct:/", "3:memory:/", "1:name=systemd:/"],
            [MEMORY, V1.format(top="/", place="/sys/fs/cgroup/cpu,cpuacct")],
            {"sys/fs/cgroup/cpu,cpuacct": "250000 100000"},
            3,
            id="v1, a container with its own view",
        ),
        pytest.param(
            ["4:cpu,cpuacct:/docker/5f2"],
            [V1.format(top="/docker/5f2", place="/sys/fs/cgroup/cpu,cpuacct")],
            {"sys/fs/cgroup/cpu,cpuacct": "150000 50000"},
            3,
            id="v1, a container with the host's names",
        ),
        pytest.param(
            ["4:cpuacct,cpu:/docker/5f2/own"],
            [V1.format(top="/docker/5f2", place="/sys/fs/cgroup/cpu,cpuacct")],
            {
                "sys/fs/cgroup/cpu,cpuacct": "-1 100000",
                "sys/fs/cgroup/cpu,cpuacct/own": "700000 100000",
            },
            7,
            id="v1, a group of its own in a container",
        ),
        pytest.param(
            ["4:cpu:/kubepods/burstable/pod1/5f2"],
            [V1.format(top="/", place="/sys/fs/cgroup/cpu")],
            {
                "sys/fs/cgroup/cpu": "-1 100000",
                "sys/fs/cgroup/cpu/kubepods/burstable/pod1": "200000 100000",
                "sys/fs/cgroup/cpu/kubepods/burstable/pod1/5f2": "-1 100000",
            },
            2,
            id="v1, a pod's quota",
        ),
        pytest.param(
            ["4:cpu:/kubepods/pod1/5f2"],
            [V1.format(top="/", place="/sys/fs/cgroup/cpu")],
            {"sys/fs/cgroup/cpu": "200000 100000"},
            2,
            id="v1, names of which nothing can be seen",
        ),
        pytest.param(
            ["4:cpu:/", "0::/user.slice"],
            [
                V1.format(top="/", place="/sys/fs/cgroup/cpu"),
                V2.format(top="/", place="/sys/fs/cgroup/unified"),
            ],
            {"sys/fs/cgroup/cpu": "600000 100000"},
            6,
            id="v1 and v2 side by side",
        ),
        pytest.param(
            ["0::/one"],
            [V2.format(top="/", place=r"/mnt/my\040groups")],
            {"mnt/my groups/one": "500000 100000"},
            5,
            id="v2, mounted elsewhere, with a blank",
        ),
        pytest.param(
            ["0::/../../sibling"],
            [V2.format(top="/", place="/sys/fs/cgroup")],
            {"sys/fs/cgroup": "500000 100000", "sibling": "100000 100000"},
            5,
            id="v2, in a group outside of what it sees",
        ),
        pytest.param(
            ["4:cpuset:/a", "3:cpuacct:/b"],
            ["36 31 0:33 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"],
            {"sys/fs/cgroup/cpuset": "100000 100000"},
            64,
            id="v1, without the controller",
        ),
        pytest.param(
            ["", "x", "1:2"], ["", "x - y", "- cgroup2", "x - cgroup2"], {}, 64, id="nonsense"
        ),
    ],
)
@pytest.mark.usefixtures("many")
def test_the_least_quota_counts(tmp_path, groups, mounts, quotas, count):
    """Quotas of the own group and of all groups around it are found, in both versions of control groups."""
    assert count == usable_cpus(host(tmp_path, groups, mounts, quotas))


def test_without_cgroups(tmp_path):
    """Without /proc and /sys, as on a Mac, the affinity mask decides."""
    assert ALL == usable_cpus(tmp_path)


QUOTAS = {
    "cgroup": 'echo 100000 > "$group/cpu.cfs_period_us"; echo 100000 > "$group/cpu.cfs_quota_us"',
    "cgroup2": 'echo +cpu > "$1/cgroup.subtree_control"; echo 100000 100000 > "$group/cpu.max"',
}


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.skipif(ALL < 2, reason="needs two processors")
def test_a_real_group(tmp_path, kind):
    """In a group below one with a quota of one processor, with the kernel's own files, one is counted."""
    options = "-o cpu" if kind == "cgroup" else ""
    script = f"""
        mount -t {kind} {options} none "$1" || exit 77
        group="$1/vgg-test-$$"
        [ {kind} = cgroup ] || grep -qw cpu "$1/cgroup.controllers" || exit 77
        mkdir "$group" || exit 77
        mkdir "$group/inner"
        {QUOTAS[kind]}
        (sh -c 'echo $$ > "$0"/cgroup.procs; shift; exec "$@"' "$group/inner" "$@")
        status=$?
        rmdir "$group/inner" "$group"
        exit $status
    """
    command = [sys.executable, "-c", "from app.machine import usable_cpus; print(usable_cpus())"]
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode in {1, 77, 127} and not ended.stdout:
        pytest.skip(f"{kind} with processors cannot be mounted here: {ended.stderr.strip()}")

    assert (0, "1\n") == (ended.returncode, ended.stdout), ended.stderr


def test_this_machine():
    """The real file gives at least one processor and at most the affinity mask."""
    assert 1 <= usable_cpus() <= ALL


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="has no affinity masks")
def test_affinity_mask(tmp_path):
    """A process pinned to one processor uses one."""
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert 1 == usable_cpus(tmp_path)
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


@pytest.mark.parametrize(
    ("lines", "fast"),
    [
        pytest.param(["flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni"] * 2, True, id="Ice Lake"),
        pytest.param(["flags\t\t: fpu sse4_2 avx2 avx_vnni"], True, id="Alder Lake"),
        pytest.param(["flags\t\t: fpu avx512f amx_tile amx_int8"], True, id="AMX alone"),
        pytest.param(["flags\t\t: fpu sse4_2 avx2 fma"] * 2, False, id="Haswell"),
        pytest.param(["flags\t\t: fpu avx2 avx512f avx512bw"], False, id="Skylake"),
        pytest.param(["flags\t\t: fpu not_avx512_vnni_at_all"], False, id="a longer name"),
        pytest.param(["Features\t: fp asimd evtstrm aes asimdhp asimddp"], True, id="Graviton 2"),
        pytest.param(["Features\t: fp asimd asimddp sve i8mm bf16"], True, id="Graviton 3"),
        pytest.param(["Features\t: fp asimd evtstrm aes crc32 cpuid"], False, id="Raspberry Pi 4"),
        pytest.param(
            ["Features\t: fp asimd asimddp", "Features\t: fp asimd"], False, id="one core cannot"
        ),
        pytest.param(["model name\t: avx512_vnni", "flags\t\t: avx2"], False, id="only by name"),
        pytest.param([], False, id="nothing is said"),
    ],
)
def test_sums_of_bytes_are_told_from_the_processors_features(tmp_path, lines, fast):
    """VNNI or AMX on x86, dot products or i8mm on ARM, and all processors have to have one."""
    (tmp_path / "cpuinfo").write_text("\n\n".join(lines) + "\n")

    assert fast == sums_bytes(tmp_path / "cpuinfo", "linux", "any")


@pytest.mark.parametrize(
    ("system", "kind", "fast"),
    [("darwin", "arm64", True), ("darwin", "x86_64", False), ("win32", "AMD64", False)],
)
def test_where_the_system_says_nothing_only_apples_processors_count(tmp_path, system, kind, fast):
    """A Mac of Apple's own design sums bytes; of any other machine without /proc nothing is known."""
    assert fast == sums_bytes(tmp_path / "none", system, kind)


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
