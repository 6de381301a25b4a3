"""What lies beside the picture of a PNG; what its colours mean is in test_prepare.py."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import CorruptImageError
from app.images.header_limits import ImageLimits
from app.images.png_parts import picture_of
from app.images.prepare import prepare
from app.records import Preprocess
from tests.images.crafted import chunk, saved

PLAIN = Preprocess(48, 48, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NOISE = np.random.default_rng(0).integers(0, 256, 1_300_000, "u1").tobytes()
LARGE = zlib.compress(bytes(1_300_000))
BESIDE = {
    "iCCP": b"k\0\0" + LARGE,
    "iCCP, noise": b"k\0\0" + zlib.compress(NOISE),
    "iCCP, damaged": b"k\0\0" + LARGE[:50] + b"x" * 50,
    "iCCP, no method": b"k",
    "iCCP, another method": b"k\0\7" + LARGE,
    "zTXt": b"Comment\0\0" + LARGE,
    "zTXt, another method": b"Comment\0\7" + LARGE,
    "zTXt, no keyword": b"\0\0" + LARGE,
    "iTXt": b"Comment\0\1\0\0\0" + LARGE,
    "iTXt, XMP": b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE,
    "iTXt, XMP, cut": b"XML:com.adobe.xmp\0\1",
    "iTXt, not UTF-8": b"k\0\0\0\xff\0\xff\0\xff",
    "iTXt, plain": b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 1_000_000,
    "tEXt": b"Raw profile type exif\0" + b"\n" * 1_000_000,
    "zTXt, EXIF": b"Raw profile type exif\0\0" + LARGE,
    "eXIf": NOISE,
    "eXIf, empty": b"",
    "PLTE": b"12",
    "gAMA": b"1",
    "cHRM": b"1",
    "sRGB": b"",
    "pHYs": b"1",
    "acTL": b"",
    "fcTL": bytes(26),
    "fdAT": b"1",
    "sPLT": NOISE,
    "abCd": NOISE,
    "tIME": b"",
}


def read(data):
    """The pixels of a PNG of 64 x 48, and its size."""
    pixels, info = prepare(data, PLAIN, ImageLimits())
    return pixels.tobytes(), (info.width, info.height)


def broken(data):
    """A chunk with a wrong checksum."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("times", [1, 3, 100])
@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_the_picture_changes_nothing(name, times):
    """Before or behind the pixels, sound or not, once or often: the answer is that without it."""
    data = saved("PNG")
    beside = chunk(name[:4].encode(), BESIDE[name][: 20_000_000 // times])
    expected = read(data)

    for one in (beside * times, broken(beside) * times):
        for at in (33, len(data) - 12):
            assert expected == read(data[:at] + one + data[at:])


@pytest.mark.parametrize("name", ["iCCP", "zTXt", "iTXt, XMP", "zTXt, EXIF"])
def test_bombs_are_not_inflated(name):
    """A thousand chunks that unpack to 1.3 GB take no more memory and time than their bytes."""
    data = saved("PNG")
    bombs = data[:33] + chunk(name[:4].encode(), BESIDE[name]) * 1000 + data[33:]
    tracemalloc.start()
    began = time.process_time()

    read(bombs)

    assert time.process_time() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2 * len(bombs) + 8_000_000
    tracemalloc.stop()


def turned(kind=b"MM\0*"):
    """EXIF with orientation 6, in either byte order."""
    order = ">" if kind == b"MM\0*" else "<"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    return kind + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


RAW = f"\nexif\n  {6 + len(turned())}\n{(b'Exif' + bytes(2) + turned()).hex()}\n".encode()
XMP = b'<rdf:Description tiff:Orientation="6"/>'
TURNS = {
    "eXIf": turned(),
    "eXIf, II": turned(b"II*\0"),
    "eXIf, as in a JPEG": b"Exif\0\0" + turned(),
    "tEXt, EXIF": b"Raw profile type exif\0" + RAW,
    "zTXt, EXIF": b"Raw profile type exif\0\0" + zlib.compress(RAW),
    "zTXt, APP1": b"Raw profile type APP1\0\0" + zlib.compress(RAW),
    "iTXt, XMP": b"XML:com.adobe.xmp\0\0\0\0\0" + XMP,
    "iTXt, XMP, compressed": b"XML:com.adobe.xmp\0\1\0en\0k\0" + zlib.compress(XMP),
    "iTXt, long XMP": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP + bytes(2_000_000)),
}


@pytest.mark.parametrize("name", TURNS)
def test_what_turns_the_picture_is_kept(name):
    """EXIF and XMP are read before and behind the pixels, but not with a wrong checksum."""
    data = saved("PNG")
    turning = chunk(name[:4].encode(), TURNS[name])

    for at in (33, len(data) - 12):
        assert (48, 64) == read(data[:at] + turning + data[at:])[1]
        assert (48, 64) == read(data[:at] + broken(turning) + turning * 2 + data[at:])[1]
        assert (64, 48) == read(data[:at] + broken(turning) + data[at:])[1]


def test_many_small_pieces_of_pixels_become_one():
    """Pixels in 3,000 chunks, with empty ones and others between them, are the same pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = saved("PNG")
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise), 0)
    pieces = [chunk(b"IDAT", packed[at : at + 4]) for at in range(0, len(packed), 4)]

    for between in (b"", chunk(b"IDAT", b""), chunk(b"abCd", b"")):
        actual, _ = read(data[:33] + between.join(pieces) + chunk(b"IEND", b""))
        assert Image.fromarray(noise).crop((8, 0, 56, 48)).tobytes() == actual


@pytest.mark.parametrize(
    ("colour", "key"),
    [
        (0, b"\0"),
        (0, bytes(3)),
        (2, bytes(5)),
        (2, bytes(8)),
        (2, b""),
        (4, bytes(2)),
        (6, bytes(6)),
    ],
)
def test_transparency_of_another_length_is_passed_over(colour, key):
    """So do libpng and browsers, where Pillow refuses the file or reads beyond the chunk."""
    mode = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    data = saved("PNG", mode=mode)

    assert colour == data[25]
    assert read(data) == read(data[:33] + chunk(b"tRNS", key) + data[33:])


def test_the_first_of_a_kind_counts():
    """A second header, palette or transparency changes nothing, nor one behind the pixels."""
    data = saved("PNG", mode="P")
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)) + chunk(
        b"PLTE", bytes(30)
    )
    at = data.index(b"IDAT") - 4

    assert read(data) == read(data[:at] + second + data[at:])
    assert read(data) == read(data[:-12] + second + chunk(b"tRNS", bytes(2)) + data[-12:])


def test_what_the_picture_needs_has_to_be_sound():
    """A header or a palette with a wrong checksum is refused, as by browsers."""
    data = saved("PNG", mode="P")
    palette = data.index(b"PLTE")
    for at in (32, palette + 4 + int.from_bytes(data[palette - 4 : palette], "big")):
        with pytest.raises(CorruptImageError, match="damaged"):
            read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "signature", [b"\x89PNG\r\n \n", b"\x89PNG\n\n\x1a\n", b"\x89PNG\r\n\x1a\r"]
)
def test_a_damaged_signature_is_not_mended(signature):
    """Line ends that were changed on the way were changed in the pixels, too."""
    with pytest.raises(CorruptImageError, match="damaged"):
        read(signature + saved("PNG")[len(signature) :])


def test_too_many_chunks_are_refused_before_pillow_reads_them():
    """A thousand chunks are read; with more than any encoder writes nothing is."""
    data = saved("PNG")
    chunks = chunk(b"abCd", b"")

    assert read(data) == read(data[:33] + chunks * 1000 + data[33:])
    with pytest.raises(CorruptImageError, match="metadata of the PNG"):
        picture_of(data[:33] + chunks * 30_000 + data[33:])


@pytest.mark.parametrize("behind", [bytes(1_000_000), chunk(b"abCd", b"") * 50_000, LARGE])
def test_what_is_behind_the_end_does_not_count(behind):
    """Padding and trailers are not the picture, and nobody reads them."""
    data = saved("PNG")

    assert picture_of(data) == picture_of(data + behind)


@given(st.binary(max_size=300))
def test_any_chunks_are_survived(data):
    """No bytes make it fail; what comes out is a PNG that is no longer than needed."""
    picture = picture_of(b"\x89PNG\r\n\x1a\n" + data)

    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) <= len(data) + 100
