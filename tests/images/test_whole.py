"""A whole photo is what torchvision resizes it to, however it is stored; a strip is refused."""

from functools import partial
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.errors import ImageTooLargeError, UnsupportedFormatError
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.process_pool import DecodeProcesses
from app.images.whole import whole_photos
from app.records import ImageInfo
from tests.conftest import PHOTOS

CHELSEA = (PHOTOS / "chelsea.jpg").read_bytes()  # 451 x 300
LIMITED = partial(prepare, limits=ImageLimits())


def noise(width, height, **options):
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return pixels, file.getvalue()


@pytest.mark.parametrize("size", [(64, 64), (97, 64), (64, 133), (512, 64)])
def test_a_photo_of_that_scale_is_not_changed(size):
    """Every pixel is the file's own, at any shape up to 8 : 1."""
    pixels, data = noise(*size)

    (found,), image = whole_photos(LIMITED, data, [64])

    assert ImageInfo(size[0], size[1], "png") == image
    np.testing.assert_array_equal(pixels, found)


@pytest.mark.parametrize("exact", [False, True])
def test_the_shorter_side_gets_the_length_of_each_scale(exact):
    """The longer one is truncated; the pixels are those of Pillow's filter."""
    found, _ = whole_photos(partial(LIMITED, exact=exact), CHELSEA, [64, 73, 96])

    assert [(64, 96, 3), (73, 109, 3), (96, 144, 3)] == [one.shape for one in found]
    photo = Image.open(BytesIO(CHELSEA)).convert("RGB")
    expected = np.asarray(photo.resize((144, 96), Image.Resampling.BILINEAR))
    if exact:
        np.testing.assert_array_equal(expected, found[2])
    else:
        assert 1.0 > np.abs(expected.astype(float) - found[2]).mean()


def test_it_is_upright():
    """A photo that was turned has the height of its width."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, data = noise(97, 64, exif=exif)

    (found,), image = whole_photos(LIMITED, data, [64])

    assert (64, 97) == (image.width, image.height)
    np.testing.assert_array_equal(np.rot90(pixels, -1), found)


@pytest.mark.parametrize("size", [(1280, 64), (64, 1280), (513, 64)])
def test_a_strip_is_refused_with_the_limit(size):
    """A panorama of 20 : 1 would take two and a half times the memory of the longest that is taken."""
    _, data = noise(*size)

    with pytest.raises(ImageTooLargeError, match="up to 8 times as long as wide") as refused:
        whole_photos(LIMITED, data, [64])

    assert {"width": size[0], "height": size[1], "max_ratio": 8} == refused.value.limit


def test_what_is_no_photo_is_told_as_ever():
    """The errors are those of `prepare`."""
    with pytest.raises(UnsupportedFormatError):
        whole_photos(LIMITED, b"no photo", [64])


def test_a_process_apart_gives_the_same():
    """Its answer has the size of the crop around the photo."""
    processes = DecodeProcesses(LIMITED)
    try:
        (found,), _ = whole_photos(processes, CHELSEA, [96])
    finally:
        processes.stop()

    (expected,), _ = whole_photos(LIMITED, CHELSEA, [96])
    np.testing.assert_array_equal(expected, found)
