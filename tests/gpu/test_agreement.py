import numpy as np
import pytest

from tests.conftest import PHOTOS
from tests.gpu.agreement import ZOOMS, compare, views
from tests.graph.test_serving_graph import RGB, SIDE, photos


def answers(best, probability):
    """Make a run that finds the same best class in every picture."""

    def run(batch):
        rows = np.full((len(batch), 1000), 1e-6, np.float32)
        rows[:, :5] = [0.05, 0.04, 0.03, 0.02, 0.01]
        rows[:, best] = probability
        return rows

    return run


def test_agreement():
    """Differences, best classes and sets of five are compared, and held against the bounds."""
    pictures = photos(10)
    same = compare(answers(7, 0.5), answers(7, 0.503), pictures)
    other = compare(answers(7, 0.5), answers(8, 0.5), pictures)

    assert pytest.approx(0.003, rel=1e-3) == same.largest
    assert (10, 1.0, 1.0, True) == (
        same.pictures,
        same.same_first,
        same.same_five,
        same.holds,
    )
    assert (0.0, 0.0, False) == (other.same_first, other.same_five, other.holds)


def test_views_are_inputs():
    """Each photo gives an input for each zoom, all of them different."""
    files = [path.read_bytes() for path in PHOTOS.glob("*.jpg")]
    pictures = views(files, RGB)

    assert (len(files) * len(ZOOMS), SIDE, SIDE, 3) == pictures.shape
    assert np.uint8 == pictures.dtype
    assert len(pictures) == len({picture.tobytes() for picture in pictures})
