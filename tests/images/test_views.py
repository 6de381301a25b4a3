"""Views of a photo are what a model sees of it, and its tiles at three scales."""

from io import BytesIO

import numpy as np
from PIL import Image

from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.views import views
from app.records import Preprocess
from tests.conftest import PHOTOS

PREPROCESS = Preprocess(72, 64, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_fifteen_views_that_differ():
    """The usual view, the square as one tile, four and nine."""
    found = views((PHOTOS / "coffee.jpg").read_bytes(), PREPROCESS, ImageLimits())

    assert (15, 64, 64, 3) == found.shape
    assert np.uint8 == found.dtype
    assert 15 == len({view.tobytes() for view in found})


def test_the_first_is_what_the_model_usually_sees():
    """It is what `prepare` gives."""
    data = (PHOTOS / "coffee.jpg").read_bytes()

    found = views(data, PREPROCESS, ImageLimits())

    usual, _ = prepare(data, PREPROCESS, ImageLimits())
    assert usual.tolist() == found[0].tolist()


def test_tiles_make_up_the_square():
    """Rows of tiles from the top left: a photo of one colour per quarter has four plain tiles."""
    quarters = np.array([[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [90, 90, 90]]], np.uint8)
    file = BytesIO()
    Image.fromarray(quarters.repeat(64, 0).repeat(64, 1)).save(file, "PNG")

    found = views(file.getvalue(), PREPROCESS, ImageLimits())

    middles = [view[32, 32].tolist() for view in found[2:6]]
    assert quarters.reshape(4, 3).tolist() == middles
