"""The layout of this processor, and graphs that cannot be loaded."""

import platform
from pathlib import Path

import pytest

from app.runtime.ort import CPU, channel_block, open_graph
from app.setup_errors import SessionError

CPU_INFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    not CPU_INFO.exists() or platform.machine() != "x86_64", reason="not Linux on x86"
)
def test_a_block_of_channels_fills_a_register():
    """16 numbers with AVX-512, 8 with AVX, according to the flags of the processor."""
    flags = set(CPU_INFO.read_text().partition("flags")[2].partition("\n")[0].split())

    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        assert 16 == channel_block()
    elif {"avx", "avx2", "fma"} <= flags:
        assert 8 == channel_block()


def test_it_is_always_the_same():
    """Plans that are remembered depend on it."""
    assert channel_block() == channel_block()


def test_the_bytes_of_a_broken_graph_are_not_in_the_error():
    """A graph of 20 MB that cannot be loaded is named by its size, in a short message."""
    with pytest.raises(
        SessionError, match=r"^A graph of 20000000 bytes cannot be loaded: "
    ) as caught:
        open_graph(b"\xff" * 20_000_000, CPU, threads=1)

    assert len(str(caught.value)) < 1000
