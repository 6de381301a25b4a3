"""The limit of a device is what its peaks allow, layer by layer."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from app.graph.serving_graph import INPUT
from app.graph.vgg import VggConfig
from app.runtime.ort import CPU, open_graph
from tests.gpu.roofline import Peaks, least_seconds, measure_peaks

VGG16 = VggConfig("D")


def test_with_endless_bandwidth_only_operations_count():
    """A batch takes its operations over the rate."""
    peaks = Peaks("float16", operations=1e12, bandwidth=1e30)

    assert 8 * 2 * VGG16.multiply_adds() / 1e12 == pytest.approx(least_seconds(VGG16, peaks, 8))


def test_with_an_endless_rate_only_bytes_count():
    """Weights are read once a batch, maps are written and read once an image, two bytes each."""
    peaks = Peaks("float16", operations=1e30, bandwidth=1e9)
    one, two = (least_seconds(VGG16, peaks, images) for images in (1, 2))

    maps = [3 * 224 * 224, *(int(np.prod(row.output_shape)) for row in VGG16.layers())]
    moved = sum(before + after for before, after in pairwise(maps))
    assert 2 * moved / 1e9 == pytest.approx(two - one)
    assert 2 * VGG16.parameters() / 1e9 == pytest.approx(2 * one - two)


def test_float32_moves_twice_the_bytes():
    """Four bytes a number in place of two."""
    half, full = (Peaks(p, 1e30, 1e9) for p in ("float16", "float32"))

    ratio = least_seconds(VGG16, full, 4) / least_seconds(VGG16, half, 4)
    assert 2.0 == pytest.approx(ratio)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_peaks_are_measured_on_a_real_device(precision):
    """The graphs that measure are valid, and a CPU gets through them."""

    def load(graph, values):
        return partial(open_graph(graph, CPU, 1).run, None, {INPUT: values})

    peaks = measure_peaks(load, precision, side=64, elements=2**12)

    assert precision == peaks.precision
    assert 1e6 < peaks.operations < 1e15
    assert 1e5 < peaks.bandwidth < 1e14


def test_peaks_count_every_operation():
    """Eight products of 100 x 100 in a second are 16 million operations a second."""
    ticks = []

    def load(graph, _values):
        ticks.append(graph)
        return lambda: None

    peaks = measure_peaks(load, "float32", side=100, elements=1000)

    assert 2 == len(ticks)
    assert peaks.operations / peaks.bandwidth > 0
