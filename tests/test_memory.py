"""What was freed goes back to the system."""

import sys
from pathlib import Path

import pytest

from app.memory import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps it, and tells")
def test_freed_memory_goes_back():
    """Small pieces, of which every second is freed but the last page's: most of it comes back."""

    def resident():
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

    pieces = [bytes(50_000) for _ in range(2000)]
    high = resident()
    del pieces[:-1]

    return_freed_memory()

    assert resident() < high - 50e6
