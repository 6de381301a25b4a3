"""What each test of the paper sees of a photo: where its crops are, and at which scales."""

import numpy as np
import pytest

from app.images.paper_views import grid_crops, square, ten_crops, usual_scales
from app.records import Preprocess


def preprocess(resize, crop):
    return Preprocess(resize, crop, "RGB", (0.0,) * 3, (1.0,) * 3)


def places(height, width):
    """Make a picture whose every pixel says where it is: red is its row, green its column."""
    rows, columns = np.indices((height, width)).astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def first(crops):
    """Return the row and the column of the upper left corner of each crop."""
    return [tuple(one[0, 0, :2].tolist()) for one in crops]


def test_ten_crops_are_alexnet_s():
    """Four corners and the centre of the square, then the same in the mirror."""
    crops = ten_crops(places(256, 256), 224)

    assert (10, 224, 224, 3) == crops.shape
    assert [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)] == first(crops[:5])
    np.testing.assert_array_equal(crops[:5, :, ::-1], crops[5:])


def test_the_centre_is_that_of_the_usual_crop():
    """At any side the fifth crop is where torchvision's centre is, halves rounded to even."""
    for side in range(64, 80):
        expected = round((side - 64) / 2)
        assert [(expected, expected)] == first(ten_crops(places(side, side), 64)[4:5])


def test_a_grid_has_fifty_crops():
    """Five across and five down at even distances, from edge to edge; then in the mirror."""
    crops = grid_crops(places(96, 144), 64)

    assert (50, 64, 64, 3) == crops.shape
    assert [(y, x) for y in (0, 8, 16, 24, 32) for x in (0, 20, 40, 60, 80)] == first(crops[:25])
    np.testing.assert_array_equal(crops[:25, :, ::-1], crops[25:])


@pytest.mark.parametrize(
    ("test", "resize", "crop", "expected"),
    [
        ("dense", 256, 224, (256,)),
        ("ten-crop", 256, 224, (256,)),
        ("ten-crop", 224, 224, (256,)),
        ("dense", 68, 64, (68,)),
        ("dense", 64, 64, (73,)),
        ("multi-scale", 256, 224, (256, 384, 512)),
        ("multi-crop", 68, 64, (73, 110, 146)),
    ],
)
def test_scales_are_the_manifest_s_or_the_paper_s(test, resize, crop, expected):
    """256 for a crop of 224, in proportion for others, unless the manifest has one of its own."""
    assert expected == usual_scales(test, preprocess(resize, crop))


def test_a_square_is_the_centre_of_the_photo():
    """Its side is the scale."""
    assert preprocess(256, 256) == square(preprocess(300, 224), 256)
