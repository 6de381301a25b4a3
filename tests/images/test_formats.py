import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnsupportedFormatError
from app.images.formats import ends_too_early, identify, orientation


def exif(value, *, order="<", kind=3, before=0):
    """A TIFF block whose first directory has `before` other tags, then the orientation."""
    number = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
    others = b"".join(struct.pack(f"{order}HHII", 0x0100 + n, 4, 1, 9) for n in range(before))
    tag = struct.pack(f"{order}HHI", 0x0112, kind, 1) + number
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return header + struct.pack(f"{order}H", before + 1) + others + tag + bytes(4)


def ftyp(*brands):
    """The first box of an ISO media file: its major brand, then the compatible ones."""
    return struct.pack(">I4s4sI", 16 + 4 * (len(brands) - 1), b"ftyp", brands[0], 0) + b"".join(
        brands[1:]
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "webp"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (b"BM" + bytes(12) + b"\x7c\0\0\0", "bmp"),
    ],
)
def test_formats_that_are_read_are_named(head, name):
    """The five formats are told by their first bytes alone."""
    assert name == identify(head)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"avif", b"mif1"), "AVIF"),
        (ftyp(b"mif1", b"miaf", b"avif"), "AVIF"),
        (ftyp(b"isom", b"mp41"), "a video (MP4)"),
        (ftyp(b"qt  "), "a video (MP4)"),
        (b"\x1a\x45\xdf\xa3\x01", "a video (WebM)"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "a video (AVI)"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript (EPS)"),
        (b"\xc5\xd0\xd3\xc6\x1e\0\0\0", "PostScript (EPS)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x29", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"8BPS\0\1", "a Photoshop document (PSD)"),
        (b"\0\0\1\0\1\0", "a Windows icon (ICO)"),
        (b"PK\3\4\x14\0", "a ZIP archive"),
        (b"\x1f\x8b\x08\0", "gzip-compressed data"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64 text"),
        (b"data:image/png;base64,iVBOR", "base64 text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a <b> -->\n<svg>", "SVG"),
        (b"<!DOCTYPE html><html><svg></svg></html>", "HTML"),
        (b"\n<html lang=en>", "HTML"),
        (b"<?xml version='1.0'?><rss/>", "XML"),
        (b'{"image": "..."}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"BM is not always a bitmap", "plain text"),
        ("Grüße, ".encode() * 100, "plain text"),
    ],
)
def test_known_formats_that_are_not_read_are_named(data, name):
    """Someone who sends a known format is told which, and what to send instead."""
    with pytest.raises(UnsupportedFormatError) as caught:
        identify(data)

    assert str(caught.value).startswith(
        f"This looks like {name}, which is not read here; send JPEG, PNG, WebP, GIF or BMP."
    )


def test_an_iphone_is_told_which_setting_to_change():
    """HEIC is what iPhones send: the answer names the setting."""
    with pytest.raises(UnsupportedFormatError, match="Most Compatible"):
        identify(ftyp(b"heic", b"mif1"))


def test_an_empty_body_is_called_empty():
    """No data are not an unknown format."""
    with pytest.raises(UnsupportedFormatError, match=r"^The body is empty; send JPEG"):
        identify(b"")


@pytest.mark.parametrize("data", [b"\0\1\2\3", b"BM\xff\xff", b"\xff\xd8", b"\xc3\x28 latin"])
def test_unknown_bytes_are_not_guessed_at(data):
    """What is not known is not given a name."""
    with pytest.raises(UnsupportedFormatError, match=r"^This is not an image of a known format"):
        identify(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_named_or_refused(data):
    """No bytes make the sniffer fail."""
    try:
        name = identify(data)
    except UnsupportedFormatError:
        return
    assert name in {"jpeg", "png", "webp", "gif", "bmp"}
    assert ends_too_early(data, name) in {True, False}


def test_a_hostile_comment_costs_no_time():
    """Nested beginnings of comments do not make the SVG pattern backtrack for long."""
    with pytest.raises(UnsupportedFormatError):
        identify(b"<!---->" * 100)


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("jpeg", b"\xff\xd8\xff\xe0...\xff\xd9"),
        ("png", b"\x89PNG...\0\0\0\0IEND\xae\x42\x60\x82"),
        ("webp", b"RIFF\x08\0\0\0WEBPVP8 "),
        ("gif", b"GIF89a...\0;"),
        ("bmp", b"BM\x0a\0\0\0...."),
    ],
)
def test_a_missing_end_is_seen(name, whole):
    """Each format tells where it ends."""
    assert not ends_too_early(whole, name)
    assert ends_too_early(whole[:-5], name)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(order, value):
    """EXIF of either byte order, with or without its prefix, other tags before it or not."""
    assert value == orientation({"exif": exif(value, order=order)})
    assert value == orientation({"exif": b"Exif\0\0" + exif(value, order=order, before=5)})


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"exif": b""},
        {"exif": b"Exif\0\0"},
        {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"},
        {"exif": exif(6)[:-8]},
        {"exif": exif(6, kind=4)},
        {"exif": exif(0)},
        {"exif": "text, from a PNG chunk of that name"},
        {"xmp": b"tiff:Orientation=9"},
        {"Raw profile type exif": "\nexif\n  4\nnot hex"},
    ],
)
def test_a_broken_block_is_no_orientation(info):
    """Missing, cut, mistyped or meaningless metadata leave the picture as it is."""
    assert 1 == orientation(info)


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_exif_block_is_survived(data, header):
    """No block makes the reader fail."""
    assert 0 <= orientation({"exif": header + data}) <= 65535


@pytest.mark.parametrize(
    "info",
    [
        {"xmp": b'<rdf:Description tiff:Orientation="6"/>'},
        {"XML:com.adobe.xmp": "<tiff:Orientation>6</tiff:Orientation>"},
        {"exif": exif(6), "xmp": b'tiff:Orientation="3"'},
        {"Raw profile type exif": f"\nexif\n  26\n{(b'Exif' + bytes(2) + exif(6)).hex()}\n"},
    ],
)
def test_orientation_is_found_wherever_programs_put_it(info):
    """XMP counts where EXIF says nothing; ImageMagick's hexadecimal EXIF counts as EXIF."""
    assert 6 == orientation(info)
