"""Files that cost far more than they weigh; sides, pixels and scans are in test_prepare.py."""

import sys
import zlib
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.errors import CorruptImageError, ImageTooLargeError, RequestError
from app.images.header_limits import MOST, ImageLimits, count_jpeg_header, read_allowance
from app.images.prepare import prepare
from app.records import Preprocess
from tests.images.crafted import chunk, coded_as, crumbs, run_lengths, segments

EVALUATION = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def prepared(data, limits=None):
    """Pixels and particulars of an upload."""
    return prepare(data, EVALUATION, limits or ImageLimits())


def reads(data, name):
    """How often a decoder may read from an upload."""
    return read_allowance(bytes(data), name, ImageLimits()).reads


def calls(data):
    """How often each function is called, by name, while an upload is decoded."""
    names: Counter[str] = Counter()

    def count(frame, event, function):
        if event in {"call", "c_call"}:
            names[frame.f_code.co_name if event == "call" else function.__name__] += 1

    sys.setprofile(count)
    try:
        prepared(data)
    except RequestError:
        pass
    finally:
        sys.setprofile(None)
    return names


def png(image):
    """The file that Pillow makes of an image."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("frame", [0xC9, 0xCA])
def test_arithmetic_coding_is_refused_by_the_header(frame):
    """Where such codes end libjpeg continues with zeros, scan after scan: 25 kB took 33 s."""
    with pytest.raises(CorruptImageError, match="arithmetic coding"):
        prepared(coded_as(frame))


@pytest.mark.parametrize(
    ("most", "more"),
    [
        ([(0xE1, b"Exif\0\0MM")] * 64, (0xE1, b"Exif\0\0MM")),
        ([(0xDB, (b"\0" + b"\1" * 64) * 62)], (0xDB, b"\0" + b"\1" * 64)),
        ([(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000)] * 2, (0xED, b"8BIM")),
        ([(0xE5, b"")] * 1990, (0xE5, bytes(20))),
        ([], (0xC0, b"\x08\0\x10\0\x10\xff" + b"\1\x11\0" * 255)),
    ],
    ids=["EXIF", "tables", "resources", "markers", "components"],
)
def test_a_header_may_not_repeat_itself_without_end(most, more):
    """More pieces than any file has are refused, because Pillow handles each of them in Python."""
    prepared(segments(*most))
    with pytest.raises(CorruptImageError, match="header"):
        prepared(segments(*most, *[more] * 8))


@pytest.mark.parametrize("name", crumbs(100_000))
def test_work_in_python_does_not_grow_with_the_number_of_pieces(name):
    """1 MB of crumbs costs at most 250,000 calls; restart markers took 1,089,078."""
    assert calls(crumbs(1_000_000)[name]).total() < 250_000


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("JPEG, EXIF after an end", "APP"),
        ("JPEG, EXIF after a length of 0", "APP"),
        ("JPEG, EXIF in an extension", "APP"),
        ("JPEG, EXIF in another", "APP"),
        ("JPEG, hierarchical frames", "SOF"),
        ("PNG, profiles", "decompress"),
        ("PNG, profiles after the pixels", "decompress"),
        ("PNG, texts without a keyword", "decompress"),
        ("PNG, texts not in UTF-8", "decompress"),
    ],
)
def test_no_piece_that_is_refused_reaches_pillow(name, function):
    """Pillow ran its handler for each: 10 MB of EXIF took 1.4 s and more, profiles took 19 s."""
    assert 0 == calls(crumbs(1_000_000)[name])[function]


@pytest.mark.parametrize(
    ("kind", "start"), [(b"iCCP", b"k\0\0"), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")]
)
def test_a_png_may_hold_little_compressed_metadata(kind, start):
    """1 MiB of a kind is allowed, and 40 small texts; 3 MB of empty blocks took 0.1 s."""
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, "u1").tobytes()
    small = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2000), 0))
    data = png(Image.new("RGB", (64, 48)))
    large = chunk(kind, start + zlib.compress(noise))

    for at in (33, len(data) - 12):
        prepared(data[:at] + large + small * 20 + data[at:])
        prepared(data[:at] + small * 40 + data[at:])
        for most in (large * 3, small * 60, chunk(kind, start + bytes(3_000_000))):
            with pytest.raises(CorruptImageError, match="metadata"):
                prepared(data[:at] + most + data[at:])


def test_plain_text_of_a_png_is_not_inflated():
    """An iTXt chunk without compression, XMP for instance, may have any size and number."""
    data = png(Image.new("RGB", (64, 48)))
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 1_000_000)
    more = chunk(b"iTXt", b"Title\0\0\0en\0\0" + b"a" * 20_000) * 100

    prepared(data[:33] + text + more + data[33:])


def test_the_walk_over_a_header_ends():
    """Beyond the allowed number of markers no more of them are looked at."""
    for marker in (b"\xff\xd0", b"\xff\xe1\0\2", b"\xff\0", b"x\xff\xff\1"):
        data = b"\xff\xd8" + marker * 10_000

        assert MOST["markers"] + 1 == count_jpeg_header(data)["markers"]
    assert 2 == count_jpeg_header(b"\xff" * 1_000_000 + b"\xd8\xff\xd0")["markers"]


def test_numbers_of_16_bits_count_twice():
    """A PNG of 16 bits per channel takes twice as long: at the limit it took more than 2 s."""
    limits = ImageLimits(max_pixels=1600)
    for depth, side in ((8, 40), (16, 28)):
        image = Image.new("I;16" if depth == 16 else "L", (side, side))
        prepared(png(image), limits)
    with pytest.raises(ImageTooLargeError, match=r"0\.0008 MP"):
        prepared(png(Image.new("I;16", (29, 29))), limits)


def test_run_lengths_of_a_bmp():
    """A BMP with run lengths is read byte by byte, and so may have 4 MP at most."""
    body = b"".join(bytes([64, row % 256] * 10 + [0, 0]) for row in range(480))

    pixels, info = prepared(run_lengths((640, 480), body))

    assert (640, 480, "bmp") == (info.width, info.height, info.format)
    assert len(np.unique(pixels[..., 0])) > 100
    for bits in (4, 8):
        with pytest.raises(ImageTooLargeError, match="the limit is 4 MP"):
            prepared(run_lengths((2001, 2000), b"\0\1", bits))


def test_an_old_bmp_has_no_run_lengths():
    """Where later headers name the compression, OS/2's already have a colour."""
    file = BytesIO()
    Image.new("RGB", (64, 48), (1, 1, 1)).save(file, "BMP")
    plain = bytearray(file.getvalue())
    plain[30] = 1
    assert reads(plain, "bmp") > reads(plain, "png")

    plain[14] = 12

    assert reads(plain, "bmp") == reads(plain, "png")
    assert 10_000 == reads(b"BM", "bmp")


def jpeg(mode="RGB", **options):
    """Return a small JPEG as Pillow writes it."""
    file = BytesIO()
    Image.new(mode, (32, 24)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("mode", "components"), [("L", 1), ("RGB", 3), ("CMYK", 4)])
def test_an_honest_file(mode, components, progressive):
    """One frame of Huffman codes, as every program writes it."""
    found = count_jpeg_header(jpeg(mode, progressive=progressive))

    assert (1, components) == (found["frames"], found["components"])
    assert not found["arithmetic frames"] + found["lossless frames"]
    assert 4 < found["markers"] < 12


@pytest.mark.parametrize(
    ("frame", "arithmetic", "lossless"),
    [(0xC1, False, False), (0xC3, False, True), (0xC9, True, False), (0xCA, True, False)],
)
def test_how_it_is_coded(frame, arithmetic, lossless):
    """The marker of the frame says how it is coded (ITU-T T.81, table B.1)."""
    found = count_jpeg_header(coded_as(frame))

    assert (arithmetic, lossless) == (found["arithmetic frames"], found["lossless frames"])


def test_what_there_is_too_much_of_is_counted():
    """EXIF, tables, resources, frames and their components; other APP1 (XMP) is no EXIF."""
    frame = b"\x08\0\x10\0\x10\xc8"
    data = segments(
        *[(0xE1, b"Exif\0\0MM")] * 3,
        (0xE1, b"http://ns.adobe.com/xap"),
        (0xDB, bytes(2 * 65)),
        (0xED, b"Photoshop 3.0\0" + b"8BIM" * 5),
        (0xC0, frame),
    )

    found = count_jpeg_header(data)

    assert (3, 4, 5) == (
        found["EXIF segments"],
        found["quantization tables"],
        found["Photoshop resources"],
    )
    assert (2, 203) == (found["frames"], found["components"])


def test_fill_bytes_and_junk_are_passed_over():
    """As in libjpeg, any number of 0xFF may precede a marker, and anything may precede those."""
    data = jpeg()
    at = data.index(b"\xff\xc0")

    padded = count_jpeg_header(data[:at] + b"junk\xff\0\xff\xff\xff" + data[at:])
    assert count_jpeg_header(data) == padded | {"markers": padded["markers"] - 1}


@pytest.mark.parametrize("length", [b"\0\0", b"\0\1", b"\0\2"])
def test_a_length_below_2_is_an_empty_segment(length):
    """As in Pillow and libjpeg, which decode such a file."""
    data = jpeg()
    longer = data[:2] + b"\xff\xe5" + length + data[2:]

    prepared(longer)
    found = count_jpeg_header(data)
    assert count_jpeg_header(longer) == found | {"markers": found["markers"] + 1}


@pytest.mark.parametrize("marker", [0xC8, 0xD9, 0xDE, 0xF0, 0xF7, 0xFD])
def test_a_misplaced_marker_ends_the_walk(marker):
    """Pillow skips no segment after it, and libjpeg refuses the file in the end."""
    data = segments((marker, b"\x08\0\x30\0\x40\3"))

    assert 1 == count_jpeg_header(data)["misplaced markers"]
    with pytest.raises(CorruptImageError, match="header"):
        prepared(data)


def test_what_follows_the_first_scan_is_no_header():
    """Pixels, and thumbnails inside EXIF, may look like anything."""
    thumbnail = segments((0xE1, b"Exif\0\0" + coded_as(0xC9)))

    assert not count_jpeg_header(jpeg() + coded_as(0xC9))["arithmetic frames"]
    assert not count_jpeg_header(thumbnail)["arithmetic frames"]


def test_no_bytes_make_it_fail():
    """The walk ends in files that are cut at any byte, and in noise."""
    data = segments((0xE1, b"Exif\0\0MM"))[:700]
    for end in range(len(data)):
        count_jpeg_header(data[:end])
    random = np.random.default_rng(0)
    for _ in range(300):
        count_jpeg_header(
            b"\xff\xd8" + random.choice([0, 1, 2, 0xC0, 0xE1, 0xFF], 400).astype("u1").tobytes()
        )
    assert not any(count_jpeg_header(b"").values())
    assert not any(count_jpeg_header(b"\xff" * 99).values())


def png_of_chunks(count):
    """A PNG with so many empty chunks before its pixels."""
    saved = BytesIO()
    Image.new("RGB", (48, 40)).save(saved, "PNG")
    start = 33  # behind the first chunk
    return saved.getvalue()[:start] + chunk(b"abCd", b"") * count + saved.getvalue()[start:]


def test_png_with_too_many_chunks_is_refused_before_pillow_reads_it():
    """A thousand chunks are read; with more than any encoder writes nothing is."""
    assert "png" == prepared(png_of_chunks(1000))[1].format
    with pytest.raises(CorruptImageError, match="metadata of the PNG"):
        read_allowance(png_of_chunks(15_000), "png", ImageLimits())


@pytest.mark.parametrize("behind", [b"\0" * 1_000_000, chunk(b"abCd", b"") * 20_000])
def test_what_is_behind_the_end_of_a_png_does_not_count(behind):
    """Padding and trailers are not the picture, and Pillow never reads them."""
    assert "png" == prepared(png_of_chunks(1) + behind)[1].format
