"""Files that cost far more than they weigh; sides, pixels and scans are in test_prepare.py."""

import sys
from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import CorruptImageError, ImageTooLargeError, RequestError
from app.images.header_limits import (
    MOST,
    ImageLimits,
    read_allowance,
    read_jpeg_header,
    read_scans,
)
from app.images.prepare import prepare
from app.records import Preprocess
from tests.images.crafted import (
    coded_as,
    crumbs,
    first_scan,
    run_lengths,
    saved,
    segment,
    segments,
)

EVALUATION = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def prepared(data, limits=None):
    """Pixels and particulars of an upload."""
    return prepare(data, EVALUATION, limits or ImageLimits())


def reads(data, name):
    """How often a decoder may read from an upload."""
    return read_allowance(bytes(data), name, ImageLimits()).reads


def count_jpeg_header(data):
    """What a JPEG holds before its first scan, by name."""
    return read_jpeg_header(data).counts


def scans(data):
    """The scans of a JPEG: how many, whether one has all of it, where to cut it off."""
    return read_scans(data, read_jpeg_header(data))


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


PARTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "progressive": {"progressive": True},
    "optimized": {"progressive": True, "optimize": True},
    "restarts": {"restart_marker_blocks": 1},
    "progressive, restarts": {"progressive": True, "restart_marker_blocks": 1},
}
BEHIND = {
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\xff\xda\0\x0c\3" * 1000,
    "a second JPEG": saved("JPEG", progressive=True),
    "zeros": bytes(100_000),
    "half a marker": b"\xff",
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("name", PARTS)
def test_what_lies_behind_a_picture_has_no_scans(name, behind):
    """A motion photo has one scan, however often its video looks like one."""
    data = saved("JPEG", **PARTS[name])

    assert scans(data) == scans(data + BEHIND[behind])
    assert ("progressive" in PARTS[name]) == (scans(data)[0] > 1)
    assert ("progressive" not in PARTS[name]) == scans(data)[1]


def test_what_lies_in_a_segment_is_no_scan():
    """Thumbnails in EXIF and in MPF, and comments between scans, may look like scans."""
    thumbnail = b"Exif\0\0" + saved("JPEG", progressive=True) * 3
    data = saved("JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    inside = data[:2] + segment(0xE1, thumbnail) + data[2:at] + segment(0xFE, thumbnail) + data[at:]

    assert scans(data) == scans(inside)


@pytest.mark.parametrize("more", [b"\xff\xff\xff", b"\xff\1", b"\xff\xd0", b"junk\xff\0", b""])
def test_scans_are_counted_as_libjpeg_finds_them(more):
    """Fill bytes, restarts and junk before a marker are passed over, in any number."""
    data = saved("JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]

    longer = data[:-2] + (more * 3 + scan) * 40 + more + data[-2:]

    assert scans(data)[0] + 40 == scans(longer)[0]


@pytest.mark.parametrize("crumb", [b"\xff\xfe\0\2", first_scan(saved("JPEG", progressive=True))])
def test_the_walk_over_scans_ends(crumb):
    """Of a million segments after the first scan a thousand are looked at; the file is refused."""
    data = saved("JPEG", progressive=True)

    with pytest.raises(ImageTooLargeError, match="in 1001 JPEG scans; the limit is 1000"):
        prepared(data[:-2] + crumb * (1_000_000 // len(crumb)) + data[-2:])


@pytest.mark.parametrize("name", PARTS)
def test_a_picture_without_an_end_is_cut_off_where_it_is_complete(name):
    """Where every coefficient has been sent to its last bit, what follows is no picture."""
    data = saved("JPEG", **PARTS[name])
    missing = data[: data.rindex(b"\xff\xda")]

    assert scans(data)[2] is None
    for trailer in (b"", b"\xff\xc0 trailer", b"\xff\xd8 trailer", b"\xff\xd9"[:1]):
        assert len(data) - 2 <= scans(data[:-2] + trailer)[2] <= len(data) - 1
    assert scans(missing)[2] is None


def test_no_bytes_make_the_walk_over_scans_fail():
    """The walk ends in files that are cut at any byte, and in noise."""
    data = saved("JPEG", progressive=True)
    for end in range(len(data)):
        scans(data[:end])
    random = np.random.default_rng(0)
    for _ in range(300):
        noise = random.choice([0, 1, 2, 3, 0xC2, 0xDA, 0xD9, 0xFF], 400).astype("u1").tobytes()
        scans(data[:400] + noise)
        scans(data[:160] + noise)
    scans(segments((0xC0, b"\x08\0\x10\0\x10\1" + b"\1\x11\0" * 20_000)))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_photo_that_is_read_row_by_row_may_be_larger(mode):
    """Of 4.3 MP 1.1 are decoded; a JPEG of several scans, or another format, counts as a whole."""
    limits = ImageLimits(max_pixels=1_200_000)
    size = (2100, 2060)  # at half of that, 1.1 MP

    for options in ({}, {"restart_marker_blocks": 4}, {"subsampling": 0}):
        info = prepared(saved("JPEG", size, mode=mode, **options), limits)[1]
        assert size == (info.width, info.height)
    for data in (saved("JPEG", size, progressive=True), saved("PNG", size), saved("WEBP", size)):
        with pytest.raises(ImageTooLargeError, match=r"2100 x 2060 \(4\.3 MP\); the limit is 1\.2"):
            prepared(data, limits)


def test_components_of_one_name_are_no_single_scan():
    """The decoder counts the components of a scan, not their names, and then keeps all coefficients."""
    data = bytearray(saved("JPEG", (2100, 2060)))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    data[frame + 10 : frame + 19 : 3] = b"\1\1\1"
    data[scan + 2 : scan + 14] = b"\0\x08\1\1\0\0\x3f\0" + bytes(4)

    assert not scans(bytes(data))[1]
    with pytest.raises(ImageTooLargeError, match=r"the limit is 1\.2 MP"):
        prepared(bytes(data), ImageLimits(max_pixels=1_200_000))


def test_a_progressive_frame_is_no_single_scan():
    """The decoder takes memory for all coefficients before it finds that the scan is none of such a frame."""
    data = coded_as(0xC2)

    assert not scans(data)[1]
    assert scans(coded_as(0xC0))[1]


def test_all_of_a_photo_counts_where_all_of_it_is_decoded():
    """The exact way decodes at full scale, and so does a picture whose shorter side is short."""
    limits = ImageLimits(max_pixels=1_200_000)

    for size, exact in (((2100, 2060), True), ((3000, 1000), False)):
        with pytest.raises(ImageTooLargeError, match=r"the limit is 1\.2 MP"):
            prepare(saved("JPEG", size), EVALUATION, limits, exact=exact)
