"""What costs far more than it weighs is refused by its header; sides, pixels and scans: test_imaging.py."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.errors import CorruptImageError, ImageTooLargeError
from app.images.header_limits import ImageLimits, allowed_reads
from app.images.prepare import prepare
from app.records import Preprocess
from tests.images.crafted import coded_as, run_lengths, segments

EVALUATION = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def prepared(data, limits=None):
    """Pixels and particulars of an upload."""
    return prepare(data, EVALUATION, limits or ImageLimits())


def png(image):
    """The file that Pillow makes of an image."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("frame", [0xC9, 0xCA])
def test_arithmetic_coding_is_refused_by_the_header(frame):
    """Where such codes end libjpeg goes on with zeros, scan for scan: 25 kB took 33 s."""
    with pytest.raises(CorruptImageError, match="arithmetic coding"):
        prepared(coded_as(frame))


def test_a_header_may_not_say_everything_many_times():
    """EXIF once more for each segment, frames with thousands of components."""
    frame = b"\x08\0\x10\0\x10\xff" + b"\1\x11\0" * 255
    for data in (segments(*[(0xE1, b"Exif\0\0MM")] * 65), segments((0xC0, frame))):
        with pytest.raises(CorruptImageError, match="header"):
            prepared(data)
    prepared(segments(*[(0xE1, b"Exif\0\0MM")] * 64))


def test_numbers_of_16_bits_count_twice():
    """Of a PNG: they are twice as much to undo, and were above 2 s at the limit."""
    limits = ImageLimits(max_pixels=1600)
    for depth, side in ((8, 40), (16, 28)):
        image = Image.new("I;16" if depth == 16 else "L", (side, side))
        prepared(png(image), limits)
    with pytest.raises(ImageTooLargeError, match=r"0\.0008 MP"):
        prepared(png(Image.new("I;16", (29, 29))), limits)


def test_run_lengths_of_a_bmp():
    """They are read, byte by byte, and so no more than 4 MP of them."""
    body = b"".join(bytes([64, row % 256] * 10 + [0, 0]) for row in range(480))

    pixels, info = prepared(run_lengths((640, 480), body))

    assert (640, 480, "bmp") == (info.width, info.height, info.format)
    assert len(np.unique(pixels[..., 0])) > 100
    for bits in (4, 8):
        with pytest.raises(ImageTooLargeError, match="the limit is 4 MP"):
            prepared(run_lengths((2001, 2000), b"\0\1", bits))


def test_an_old_bmp_has_no_run_lengths():
    """Where later headers name the compression, OS/2's have a colour already."""
    file = BytesIO()
    Image.new("RGB", (64, 48), (1, 1, 1)).save(file, "BMP")
    plain = bytearray(file.getvalue())
    plain[30] = 1
    assert allowed_reads(bytes(plain), "bmp") > allowed_reads(bytes(plain), "png")

    plain[14] = 12

    assert allowed_reads(bytes(plain), "bmp") == allowed_reads(bytes(plain), "png")
    assert 10_000 == allowed_reads(b"BM", "bmp")
