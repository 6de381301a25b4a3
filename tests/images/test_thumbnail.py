"""A thumbnail is a small JPEG of what the model sees."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from app.errors import RequestError
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.thumbnail import thumbnail
from app.records import Preprocess
from tests.conftest import PHOTOS

PREPARE = partial(prepare, limits=ImageLimits(), exact=False)


@pytest.mark.parametrize(("crop", "side"), [(224, 96), (64, 64)])
def test_it_shows_the_crop(crop, side):
    """At 96 pixels, or the crop's own size where that is smaller."""
    data = (PHOTOS / "chelsea.jpg").read_bytes()
    preprocess = Preprocess(crop * 8 // 7, crop, "RGB", (0.0,) * 3, (1.0,) * 3)
    found = thumbnail(PREPARE, data, preprocess)
    seen = Image.fromarray(PREPARE(data, preprocess)[0]).resize((side, side))
    shown = Image.open(io.BytesIO(found))

    assert ("JPEG", (side, side)) == (shown.format, shown.size)
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(seen)).mean() < 8
    assert len(found) < 5000


def test_a_damaged_photo_has_none():
    """The error is that of the service."""
    with pytest.raises(RequestError):
        thumbnail(PREPARE, b"no photo", Preprocess(8, 8, "RGB", (0.0,) * 3, (1.0,) * 3))
