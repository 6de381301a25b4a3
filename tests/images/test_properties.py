"""Properties of pixels are Pillow's and numpy's; the quality of a JPEG is what it was saved with."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from app.images.properties import jpeg_quality, look_of
from tests.conftest import PHOTOS


@pytest.fixture(scope="module")
def photo():
    return Image.open(PHOTOS / "chelsea.jpg").convert("RGB").resize((224, 224))


def test_brightness_contrast_and_sharpness(photo):
    """Of luma, in float64; Pillow's kernel gives the same Laplacian but for its rounding."""
    luma = np.asarray(photo) @ np.array([0.299, 0.587, 0.114])
    inner = luma[1:-1, 1:-1]
    laplacian = 4 * inner - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    found = look_of(np.asarray(photo))

    assert (luma.mean() / 255, luma.std() / 255) == pytest.approx(found[:2], abs=1e-6)
    assert laplacian.var() == pytest.approx(found.sharpness, rel=1e-4)


def test_a_blurred_photo_is_less_sharp(photo):
    """By far."""
    blurred = photo.filter(ImageFilter.GaussianBlur(2))

    assert look_of(np.asarray(blurred)).sharpness < look_of(np.asarray(photo)).sharpness / 5


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_crops_have_properties(side):
    """Without neighbours there is no Laplacian."""
    assert (1.0, 0.0, 0.0) == pytest.approx(look_of(np.full((side, side, 3), 255, np.uint8)))


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_quality_of_a_jpeg(photo, quality, mode):
    """As libjpeg counts it."""
    data = io.BytesIO()
    photo.convert(mode).save(data, "JPEG", quality=quality, exif=b"Exif\0\0" + b"\xff\xdb" * 99)

    assert quality == jpeg_quality(data.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xd8", b"\xff\xd8\xff\xdb\0", b"\xff\xd8\xff\xdb\0\0\0", b"\x89PNG\r\n",
        b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 63, b"\xff\xd8\xff\xdb\0\x43\1" + b"\1" * 64 + b"\xff\xda\0\2",
    ],
)  # fmt: skip
def test_a_file_without_a_table_has_no_quality(data):
    """Nor does a broken one end the run."""
    assert jpeg_quality(data) is None


def test_wide_tables_are_read():
    """Of 16 bits a value."""
    data = b"\xff\xd8\xff\xdb\0\x83\x10" + b"\0\x39\0\x3a" * 32

    assert 50 == jpeg_quality(data)
