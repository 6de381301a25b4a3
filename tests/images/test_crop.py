import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.images.crop import read_orientation, stored_box, turn_upright, upright_size

TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 13: "I"}
"""The numbers of TIFF 6.0 (and of its supplement: 13) for types that fit into an entry."""


def exif(value, *, order="<", kind=3, before=0, count=1):
    """A TIFF block whose first directory has `before` other tags, then the orientation."""
    number = struct.pack(order + TYPES.get(kind, "I"), value).ljust(4, b"\0")
    others = b"".join(struct.pack(f"{order}HHII", 0x0100 + n, 4, 1, 9) for n in range(before))
    tag = struct.pack(f"{order}HHI", 0x0112, kind, count) + number
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return header + struct.pack(f"{order}H", before + 1) + others + tag + bytes(4)


def read_pillows_orientation(block):
    """The orientation by which Pillow would turn a picture with this EXIF."""
    found = Image.Exif()
    found.load(block)
    return found.get(0x0112)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(order, value):
    """EXIF of either byte order, with or without its prefix, other tags before it or not."""
    assert value == read_orientation({"exif": exif(value, order=order)})
    assert value == read_orientation({"exif": b"Exif\0\0" + exif(value, order=order, before=5)})


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"exif": b""},
        {"exif": b"Exif\0\0"},
        {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"},
        {"exif": exif(6)[:-8]},
        {"exif": exif(b"6", kind=2)},
        {"exif": exif(6, kind=5)},
        {"exif": exif(6, kind=7)},
        {"exif": exif(6.0, kind=11)},
        {"exif": exif(6, kind=0)},
        {"exif": exif(6, kind=65535)},
        {"exif": exif(6, count=0)},
        {"exif": exif(99, count=3)},
        {"exif": exif(-1, kind=6)},
        {"exif": exif(-6, kind=9)},
        {"exif": exif(0x60000, kind=4)},
        {"exif": exif(9)},
        {"exif": exif(0)},
        {"exif": "text, from a PNG chunk of that name"},
        {"xmp": b"tiff:Orientation=9"},
        {"Raw profile type exif": "\nexif\n  4\nnot hex"},
        {"Raw profile type exif": "\n" * 1000},
    ],
)
def test_a_broken_block_counts_as_upright(info):
    """Metadata that are missing, cut, of the wrong type or meaningless leave the picture as it is."""
    assert 1 == read_orientation(info)


@pytest.mark.parametrize("kind", [3, 4, 6, 8, 9, 13])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_may_be_any_integer(order, kind):
    """SHORT by the standard; programs also write LONG and others, and Pillow turns by them."""
    block = b"Exif\0\0" + exif(6, order=order, kind=kind, before=2)

    assert 6 == read_orientation({"exif": block})
    assert 6 == read_pillows_orientation(block)


def test_an_orientation_in_a_byte_is_left_aside():
    """So do Pillow and browsers: the photo looks here as it does there."""
    block = b"Exif\0\0" + exif(6, kind=1)

    assert 1 == read_orientation({"exif": block})
    assert 6 != read_pillows_orientation(block)


@pytest.mark.filterwarnings("ignore:Metadata Warning")
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_first_of_several_numbers_is_the_orientation(order):
    """Whether they are in the entry, as two are, or elsewhere; Pillow turns by the first."""
    inside = exif(6, order=order, count=2)
    outside = exif(26, order=order, kind=4, count=3) + struct.pack(f"{order}3I", 6, 0, 0)

    for block in (inside, outside):
        assert 6 == read_orientation({"exif": block})
        assert 6 == read_pillows_orientation(block)


def test_a_useless_exif_does_not_hide_xmp():
    """Where EXIF has no number from 1 to 8, that of XMP counts."""
    for block in (exif(0), exif(9), exif(-1, kind=8), exif(3, count=0), b"garbage"):
        assert 6 == read_orientation({"exif": block, "xmp": b'tiff:Orientation="6"'})


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_exif_block_is_survived(data, header):
    """No EXIF block makes the reader fail."""
    assert 1 <= read_orientation({"exif": header + data}) <= 8


@pytest.mark.parametrize(
    "info",
    [
        {"xmp": b'<rdf:Description tiff:Orientation="6"/>'},
        {"xmp": b"<rdf:Description tiff:Orientation = '6'/>"},
        {"XML:com.adobe.xmp": "<tiff:Orientation>6</tiff:Orientation>"},
        {"exif": b"Exif\0\0Exif\0\0" + exif(6)},
        {"exif": exif(6), "xmp": b'tiff:Orientation="3"'},
        {"Raw profile type exif": f"\nexif\n  26\n{(b'Exif' + bytes(2) + exif(6)).hex()}\n"},
    ],
)
def test_orientation_is_found_wherever_programs_put_it(info):
    """XMP counts where EXIF says nothing; ImageMagick's hexadecimal EXIF counts as EXIF."""
    assert 6 == read_orientation(info)


def test_text_of_many_lines_is_not_split_into_all_of_them():
    """10 MB of line breaks, as a PNG's text, became a list of 10 million strings."""
    text = "\n" * 1_000_000
    tracemalloc.start()

    assert 1 == read_orientation({"Raw profile type exif": text})

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(text)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_upright_image_is_found_in_the_stored_one(orientation):
    """What is cropped there and then turned upright is what is cropped from the upright image."""
    stored = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    upright = turn_upright(stored, orientation)
    box = (0, 1, 2, 3)

    there = stored_box(box, upright.size, orientation)

    assert upright.size == upright_size(stored.size, orientation)
    assert upright.crop(box).tobytes() == turn_upright(stored.crop(there), orientation).tobytes()
