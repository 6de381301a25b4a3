"""A trained network in whole numbers, calibrated on the samples in the box, answers as in float32."""

import io
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from app.graph.int8.calibration import PROBE_FILE, Photos, calibrate, write_probes
from app.graph.int8.int8_graph import write_int8
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.images.header_limits import ImageLimits
from app.images.views import views
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, read_manifest
from tests.conftest import SHARED_DATA
from tests.measure_accuracy import NAME, photos
from tests.measure_int8 import SAMPLES, accuracy, answers, best, probe

ARCHIVE = SHARED_DATA / NAME / "val.zip"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Give the graphs of vgg16-mini, float32 and int8, the views that it saw, and its labels."""
    manifest = read_manifest(BUILT_IN / f"{NAME}.toml")
    labels = load_labels(manifest.labels, BUILT_IN)
    config, checkpoint = network_of(manifest, labels), manifest.checkpoint
    assert config is not None
    assert checkpoint is not None
    layers = read_checkpoint(BUILT_IN / checkpoint.file, checkpoint.format, config)
    exact, whole = tmp_path_factory.mktemp("float32"), tmp_path_factory.mktemp("int8")
    write_vgg(exact, config, layers.items(), manifest.preprocess)
    write_probes(exact, config)
    seen = np.concatenate(
        [
            views(path.read_bytes(), manifest.preprocess, ImageLimits())
            for path in sorted(SAMPLES.glob("*.jpg"))
        ]
    )
    ranges = calibrate(probe(exact / PROBE_FILE), Photos("samples", seen), config)
    write_int8(whole, config, layers.items(), manifest.preprocess, ranges)
    return exact / GRAPH_FILE, whole / GRAPH_FILE, seen, labels


def test_views_in_a_mirror_get_the_same_answers(small):
    """Views that were not calibrated on: the same first answer for 95 of 100."""
    exact, whole, seen, _ = small
    mirrored = np.ascontiguousarray(seen[:, :, ::-1])

    expected, actual = answers(exact, mirrored), answers(whole, mirrored)

    assert 0.95 <= (best(expected)[:, 0] == best(actual)[:, 0]).mean()
    assert 0.03 > np.abs(expected - actual).max(axis=1).mean()


@pytest.mark.real
@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs {ARCHIVE}")
def test_2000_photos_keep_their_answers(small):
    """The goal: top-1 and top-5 at most 0.5 points below float32, 97 % the same first answers."""
    exact, whole, _, labels = small
    index = {label.wnid: number for number, label in enumerate(labels)}
    found = list(islice(photos(ARCHIVE), 2000))
    truth = np.array([index[wnid] for wnid, _ in found])
    images = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for _, one in found])

    expected, actual = answers(exact, images), answers(whole, images)

    assert 0.97 <= (best(expected)[:, 0] == best(actual)[:, 0]).mean()
    assert (accuracy(actual, truth) >= accuracy(expected, truth) - 0.5).all()
