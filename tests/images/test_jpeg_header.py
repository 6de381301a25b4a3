"""What stands before the first scan is found, and nothing that stands there can make it fail."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.images.jpeg_header import JpegHeader, read_header
from tests.images.crafted import coded_as, segments


def jpeg(mode="RGB", **options):
    """Return a small JPEG as Pillow writes it."""
    file = BytesIO()
    Image.new(mode, (32, 24)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("mode", "components"), [("L", 1), ("RGB", 3), ("CMYK", 4)])
def test_an_honest_file(mode, components, progressive):
    """One frame of Huffman codes, as every program writes it."""
    found = read_header(jpeg(mode, progressive=progressive))

    assert JpegHeader(frames=1, components=components) == found


@pytest.mark.parametrize(
    ("frame", "arithmetic", "lossless"),
    [(0xC1, False, False), (0xC3, False, True), (0xC9, True, False), (0xCA, True, False)],
)
def test_how_it_is_coded(frame, arithmetic, lossless):
    """By the number of its frame (ITU-T T.81, table B.1)."""
    found = read_header(coded_as(frame))

    assert (arithmetic, lossless) == (found.arithmetic, found.lossless)


def test_what_there_is_too_much_of_is_counted():
    """EXIF, frames, and the components of the worst of them; other APP1 (XMP) is none."""
    frame = b"\x08\0\x10\0\x10\xc8"
    data = segments(*[(0xE1, b"Exif\0\0MM")] * 3, (0xE1, b"http://ns.adobe.com/xap"), (0xC0, frame))

    assert JpegHeader(frames=2, components=200, exif=3) == read_header(data)


def test_fill_bytes_and_junk_are_passed_over():
    """As libjpeg does: any number of 0xFF before a marker, anything else before that."""
    data = jpeg()
    at = data.index(b"\xff\xc0")

    assert read_header(data) == read_header(data[:at] + b"junk\xff\0\xff\xff\xff" + data[at:])


def test_what_follows_the_first_scan_is_no_header():
    """Bytes of pixels, and thumbnails inside of EXIF, may look like anything."""
    thumbnail = segments((0xE1, b"Exif\0\0" + coded_as(0xC9)))

    assert not read_header(jpeg() + coded_as(0xC9)).arithmetic
    assert not read_header(thumbnail).arithmetic


def test_no_bytes_make_it_fail():
    """Cut at every byte, and noise; it comes to an end."""
    data = segments((0xE1, b"Exif\0\0MM"))[:700]
    for end in range(len(data)):
        read_header(data[:end])
    random = np.random.default_rng(0)
    for _ in range(300):
        read_header(
            b"\xff\xd8" + random.choice([0, 1, 2, 0xC0, 0xE1, 0xFF], 400).astype("u1").tobytes()
        )
    assert JpegHeader() == read_header(b"") == read_header(b"\xff" * 99)
