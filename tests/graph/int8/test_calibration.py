"""What goes into each layer is seen as it is, photo by photo."""

import json

import numpy as np
import pytest

from app.graph.int8.calibration import (
    PROBE_FILE,
    RANGES_FILE,
    Photos,
    calibrate,
    save_ranges,
    write_probes,
)
from app.graph.serving_graph import GRAPH_FILE, INPUT, OUTPUT, write_vgg
from app.runtime.ort import CPU, open_graph
from app.setup_errors import PrecisionError
from tests.graph.test_serving_graph import RGB, lively, normalised, photos, plain_vgg, small


@pytest.fixture
def probe(tmp_path):
    """Give a function that runs the probes of a small VGG-16, and records how it was called."""
    write_vgg(tmp_path, small("D"), lively(small("D")).items(), RGB)
    write_probes(tmp_path, small("D"))
    session = open_graph(tmp_path / PROBE_FILE, CPU, threads=1)
    names = [output.name for output in session.get_outputs()]

    class Recorder:
        def __init__(self):
            self.sizes: list[int] = []

        def __call__(self, batch):
            self.sizes.append(len(batch))
            return dict(zip(names, session.run(None, {INPUT: batch}), strict=True))

    return Recorder()


def inputs_in_numpy(layers, x):
    """Compute what goes into conv1_2 and conv2_1: [N, channels, side, side]."""
    found = {}
    for name in ("conv1_1", "conv1_2"):
        weight, side = layers[name].weight.astype(np.float64), x.shape[-1]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        y = layers[name].bias[:, np.newaxis, np.newaxis] + sum(
            np.einsum(
                "oi,nihw->nohw", weight[:, :, dy, dx], padded[:, :, dy : dy + side, dx : dx + side]
            )
            for dy in range(3)
            for dx in range(3)
        )
        x = np.maximum(y, 0)
        found[{"conv1_1": "conv1_2", "conv1_2": "conv2_1"}[name]] = x
    n, channels, side, _ = x.shape
    found["conv2_1"] = x.reshape(n, channels, side // 2, 2, side // 2, 2).max(axis=(3, 5))
    return found


def test_maxima_and_means_are_those_of_each_channel(probe):
    """Maxima are of all photos, means their average, for maps after their pooling."""
    images = photos(4)

    ranges = calibrate(probe, Photos("drawn", images), small("D"))

    for name, maps in inputs_in_numpy(lively(small("D")), normalised(images, RGB)).items():
        seen = ranges.layers[name]
        np.testing.assert_allclose(maps.max(axis=(0, 2, 3)), seen.maxima, rtol=1e-4)
        np.testing.assert_allclose(maps.mean(axis=(0, 2, 3)), seen.means, rtol=1e-3, atol=1e-5)


def test_every_layer_but_the_first_is_seen(probe):
    """Convolutions by channel, fully connected layers by unit; nothing is negative."""
    ranges = calibrate(probe, Photos("drawn", photos(2)), small("D"))

    shapes = small("D").weight_shapes()
    del shapes["conv1_1"]
    assert {name: (shape[1],) for name, shape in shapes.items()} == {
        name: seen.maxima.shape for name, seen in ranges.layers.items()
    }
    assert all((seen.means >= 0).all() for seen in ranges.layers.values())
    assert all(seen.maxima.shape == seen.means.shape for seen in ranges.layers.values())


def test_photos_run_one_by_one(probe):
    """Only one photo's activations are in memory, and progress is told after each."""
    told: list[int] = []

    calibrate(probe, Photos("drawn", photos(3)), small("D"), told.append)

    assert [1, 1, 1] == probe.sizes
    assert [1, 2, 3] == told


def test_values_that_are_not_numbers_are_refused(probe):
    """A network that leaves float32 has no ranges; the error names the layer."""

    def run(batch):
        outputs = probe(batch)
        outputs["conv3_2_maxima"][0, 0] = np.inf
        return outputs

    with pytest.raises(PrecisionError, match=r"^conv3_2 reads values that are not finite"):
        calibrate(run, Photos("drawn", photos(2)), small("D"))


def test_the_probes_change_no_answer(probe):
    """The graph with probes answers as the network does."""
    batch = photos(3)

    actual = probe(batch)[OUTPUT]

    expected = plain_vgg("D", lively(small("D")), normalised(batch, RGB))
    assert 1e-5 > np.abs(expected - actual).max()


def test_ranges_can_be_looked_up(probe, tmp_path):
    """The file says where they came from, too."""
    ranges = calibrate(probe, Photos("six photos, é", photos(2)), small("D"))

    save_ranges(tmp_path, ranges)

    with np.load(tmp_path / RANGES_FILE, allow_pickle=False) as saved:
        about = {"source": "six photos, é", "digest": ranges.digest, "photos": 2}
        assert about == json.loads(str(saved["about"]))
        for name, seen in ranges.layers.items():
            assert seen.maxima.tolist() == saved[f"{name}.maxima"].tolist()
            assert seen.means.tolist() == saved[f"{name}.means"].tolist()


def test_the_digest_is_that_of_pixels_and_their_shape():
    """Other pixels, or another shape of the same bytes, are other photos."""
    images = photos(2)
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1

    digests = {
        Photos("a", images).digest,
        Photos("a", changed).digest,
        Photos("a", images.reshape(1, 128, 64, 3)).digest,
    }

    assert 3 == len(digests)
    assert Photos("a", images).digest == Photos("b", images.copy()).digest


def test_the_weights_are_shared(tmp_path):
    """The probes are a second graph on the same file of weights, a few kilobytes."""
    write_vgg(tmp_path, small("D"), lively(small("D")).items(), RGB)
    before = sorted(path.name for path in tmp_path.iterdir())

    write_probes(tmp_path, small("D"))

    assert sorted([*before, PROBE_FILE]) == sorted(path.name for path in tmp_path.iterdir())
    assert 2**16 > (tmp_path / PROBE_FILE).stat().st_size
    assert (tmp_path / GRAPH_FILE).exists()
