"""What onnxruntime says of itself and of this processor."""

import platform
from pathlib import Path

import pytest

from app.runtime.ort import channel_block

CPU_INFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    not CPU_INFO.exists() or platform.machine() != "x86_64", reason="not Linux on x86"
)
def test_a_block_of_channels_fills_a_register():
    """16 numbers with AVX-512, 8 with AVX; from what the processor says, not from a graph."""
    flags = set(CPU_INFO.read_text().partition("flags")[2].partition("\n")[0].split())

    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        assert 16 == channel_block()
    elif {"avx", "avx2", "fma"} <= flags:
        assert 8 == channel_block()


def test_it_is_always_the_same():
    """Plans that are remembered name it."""
    assert channel_block() == channel_block()
