"""The dense evaluation of a photo: one position is a crop, several are averaged before softmax."""

import numpy as np
import pytest

from app.errors import RunFailedError
from app.graph.dense import dense_graph
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.records import Preprocess
from app.runtime.conv_choice import lively_layers
from app.runtime.cpu_session import CpuSession
from app.runtime.dense_session import DenseSession, open_dense, softmax
from app.runtime.ort import channel_block

CONFIG = VggConfig("D", (8, 16, 24, 32, 32), hidden=(32, 32), classes=10, side=64)
PREPROCESS = Preprocess(72, 64, "RGB", (127.5,) * 3, (73.9,) * 3)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    write_vgg(folder, CONFIG, lively_layers(CONFIG), PREPROCESS)
    return folder


@pytest.fixture
def session(folder):
    model = dense_graph(folder / GRAPH_FILE, CONFIG, PREPROCESS, channel_block())
    return DenseSession(model, folder)


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_has_one_position(folder, session, seed):
    """There it is the serving graph: within 1e-6 for the crop, and for the mean with its mirror image."""
    crop = picture(64, 64, seed)
    serving = CpuSession(folder / GRAPH_FILE)
    expected = serving.run(np.stack([crop, crop[:, ::-1]]))

    scores = session.scores(crop)
    both = session.classify(crop)

    assert (10, 1, 1) == scores.shape
    np.testing.assert_allclose(expected[0], softmax(scores[:, 0, 0].astype(float)), atol=1e-6)
    np.testing.assert_allclose(expected.mean(axis=0), both.probabilities, atol=1e-6)
    assert 2 == both.positions


def test_scores_are_averaged_before_softmax(session):
    """As in the paper; the mirror image is averaged after it."""
    photo = picture(100, 170)
    maps = [session.scores(one).astype(float) for one in (photo, photo[:, ::-1])]

    found = session.classify(photo)

    expected = np.mean([softmax(one.mean(axis=(1, 2))) for one in maps], axis=0)
    np.testing.assert_allclose(expected, found.probabilities, rtol=1e-5)
    assert 2 * 2 * 4 == found.positions
    assert 1 == pytest.approx(found.probabilities.sum(), abs=1e-6)


def test_a_temperature_divides_the_mean_scores(folder, session):
    """The scores are as without one; softmax comes of the quotient, also of the mirror image."""
    photo = picture(100, 170)
    scores = [session.scores(one).astype(float) for one in (photo, photo[:, ::-1])]

    found = open_dense(folder / GRAPH_FILE, CONFIG, PREPROCESS, 1, 1.7).classify(photo)

    expected = np.mean([softmax(one.mean(axis=(1, 2)) / 1.7) for one in scores], axis=0)
    np.testing.assert_allclose(expected, found.probabilities, rtol=1e-5)


def test_what_is_too_small_fails(session):
    """A photo with a side below the crop's has no position at all."""
    with pytest.raises(RunFailedError):
        session.scores(picture(63, 200))


def test_a_session_that_was_stopped_runs_nothing(session):
    """The run that is going on ends after its layer, and none follows."""
    session.stop()

    with pytest.raises(RunFailedError):
        session.classify(picture(64, 64))
