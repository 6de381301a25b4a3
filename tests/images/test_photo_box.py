"""A rectangle of the crop is found again in the photo that was uploaded, whichever way it was stored."""

import numpy as np
import pytest
from PIL import Image

from app.images.header_limits import ImageLimits
from app.images.photo_box import PhotoBox, photo_box, view_of
from app.images.prepare import prepare
from app.records import Area, Preprocess
from tests.images.turned import turned

VGG = Preprocess(256, 224, "RGB", (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (16, 16, 240, 240)),
        ((1024, 768), (174, 48, 847, 720)),
        ((768, 1024), (48, 174, 720, 847)),
        ((30, 90), (1, 31, 29, 59)),
    ],
)
def test_the_view_is_the_centre_of_the_photo(size, expected):
    """The crop's square, in the photo's pixels, rounded outwards."""
    assert expected == view_of(size, VGG)


def test_parts_of_pixels_count_and_the_photo_ends():
    """Fractions are rounded outwards, and a crop as large as the photo leaves nothing outside."""
    whole = Preprocess(224, 224, "RGB", (0.0,) * 3, (1.0,) * 3)

    assert PhotoBox(16, 17, 19, 21) == photo_box(Area(0.5, 1.2, 2.1, 4.9), (256, 256), VGG)
    assert PhotoBox(0, 0, 100, 100) == view_of((100, 100), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_bright_square_is_where_its_box_says(orientation):
    """Upright, as EXIF has it turned: the square in the crop is the square in the photo."""
    photo = Image.new("L", (400, 300), 0)
    photo.paste(255, (160, 90, 200, 120))
    data = turned(photo, orientation)

    pixels, info = prepare(data, VGG, ImageLimits())
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    area = Area(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    box = photo_box(area, (info.width, info.height), VGG)

    assert (400, 300) == (info.width, info.height)
    assert np.abs(np.subtract(box, (160, 90, 200, 120))).max() <= 2
