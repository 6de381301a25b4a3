"""Handmade files that cost a decoder far more than their size suggests."""

import struct
import zlib
from io import BytesIO

from PIL import Image

SIDE = 6324
"""Side of a square of 40 million pixels."""


def saved(name, size=(64, 48), mode="RGB", **options):
    """Return a picture of one colour as Pillow writes it in the format of this name."""
    file = BytesIO()
    Image.new("RGB", size, (200, 30, 30)).convert(mode).save(file, name, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def large_png(depth=8, *, whole=True):
    """Return 40 MP with transparency; without its last tenth if it is not whole."""
    rows = (b"\1" + b"\1" * (SIDE * depth // 2)) * SIDE
    pixels = zlib.compress(rows, 1)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, 6, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    if whole:
        return start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return start + struct.pack(">I", len(pixels)) + b"IDAT" + pixels[: len(pixels) * 9 // 10]


def segments(*more):
    """Return a JPEG with more segments, (marker, data), after its first two bytes."""
    data = saved("JPEG")
    return data[:2] + b"".join(segment(*one) for one in more) + data[2:]


def coded_as(frame):
    """Return a JPEG whose frame claims another coding: SOF9 is arithmetic."""
    data = saved("JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 1] + bytes([frame]) + data[at + 2 :]


def run_lengths(size, body, bits=8):
    """Return a BMP with RLE8 or RLE4."""
    palette = bytes(range(256)) * 4 if bits == 8 else bytes(64)
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, 3 - bits // 4, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body


def first_scan(data):
    """Return the first scan of a JPEG, its marker included."""
    start = data.index(b"\xff\xda")
    return data[start : data.index(b"\xff", start + 2)]


def many_exif():
    """Return 10 MB of EXIF: long segments, then as many short ones as fit."""
    long = [(0xE1, b"Exif\0\0" + bytes(65_000))] * 140
    return segments(*long, *[(0xE1, b"Exif\0\0x")] * 60_000)


def many_components():
    """Return 100 frames, each of which claims to have 21,000 components."""
    frame = struct.pack(">BHHB", 8, 48, 64, 255) + b"\1\x11\0" * 21_000
    return segments(*[(0xC0, frame)] * 100)


def segment(marker, body):
    """Return one segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def crumbs(size):
    """Return files of this size, by name, that consist of as many small pieces as possible."""
    jpeg, png, gif, webp = map(saved, ("JPEG", "PNG", "GIF", "WEBP"))
    scans = saved("JPEG", progressive=True)
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0x\x9c" + bytes(20_000))
    turned = chunk(b"eXIf", b"II*\0" + bytes(850))
    tables = b"".join(bytes([n % 4]) + b"\1" * 64 for n in range(1008))
    resources = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5400
    exif = segment(0xE1, b"Exif\0\0" + bytes(554))
    parts = b"\x08\0\x30\0\x40\3" + b"\1\x11\0" * 21_000
    zeros, accents = zlib.compress(bytes(500_000)), zlib.compress(b"\xe9" * 1_000_000)
    profile = chunk(b"iCCP", b"k\0\0" + zeros)
    gif_start = 13 + (3 * 2 << (gif[10] & 7) if gif[10] & 0x80 else 0)

    def filled(data, at, crumb):
        return data[:at] + crumb * ((size - len(data)) // len(crumb)) + data[at:]

    inside = {
        "JPEG, restart markers": (jpeg, 2, b"\xff\xd0"),
        "JPEG, empty segments": (jpeg, 2, b"\xff\xe1\0\2"),
        "JPEG, short segments": (jpeg, 2, segment(0xE5, bytes(400))),
        "JPEG, escaped bytes": (jpeg, 2, b"\xff\0"),
        "JPEG, fill bytes": (jpeg, 2, b"\xff"),
        "JPEG, junk": (segments((0xFE, b"x")), 7, b"\0"),
        "JPEG, EXIF": (jpeg, 2, segment(0xE1, b"Exif\0\0.")),
        "JPEG, frames": (jpeg, 2, segment(0xC0, b"\x08\0\x10\0\x10\1\1\x11\0")),
        "JPEG, quantization tables": (jpeg, 2, segment(0xDB, tables)),
        "JPEG, EXIF after an end": (jpeg[:2] + b"\xff\xd9" + jpeg[2:], 4, exif),
        "JPEG, EXIF after a length of 0": (jpeg[:2] + b"\xff\xe5\0\0" + jpeg[2:], 6, exif),
        "JPEG, EXIF in an extension": (jpeg, 2, segment(0xF0, exif * 100)),
        "JPEG, EXIF in another": (jpeg, 2, segment(0xC8, exif * 100)),
        "JPEG, hierarchical frames": (jpeg, 2, segment(0xDE, parts)),
        "JPEG, Photoshop resources": (jpeg, 2, segment(0xED, resources)),
        "JPEG, fill bytes behind the codes": (jpeg, len(jpeg) - 2, b"\xff"),
        "JPEG, fill bytes without an end": (jpeg[:-2], len(jpeg) - 2, b"\xff"),
        "JPEG, scans without an end": (scans[:-2], len(scans) - 2, b"\xff\0"),
        "JPEG, restarts behind the codes": (jpeg, len(jpeg) - 2, b"\xff\xd0"),
        "JPEG, scans": (scans, len(scans) - 2, first_scan(scans)),
        "JPEG, comments between scans": (scans, len(scans) - 2, b"\xff\xfe\0\2"),
        "JPEG, tables between scans": (scans, len(scans) - 2, segment(0xDB, tables)),
        "JPEG, fill bytes behind the end": (jpeg, len(jpeg), b"\xff"),
        "PNG, EXIF": (png, 33, turned),
        "PNG, EXIF of wrong checksums": (png, 33, turned[:-1] + b"x"),
        "PNG, XMP of empty blocks": (png, 33, xmp),
        "PNG, XMP of wrong checksums": (png, 33, xmp[:-1] + b"x"),
        "PNG, empty chunks": (png, 33, chunk(b"abCd", b"")),
        "PNG, short chunks": (png, 33, chunk(b"abCd", bytes(180))),
        "PNG, texts": (png, 33, chunk(b"tEXt", b"k\0v")),
        "PNG, empty pixels": (png, png.index(b"IDAT") - 4, chunk(b"IDAT", b"")),
        "PNG, chunks behind the pixels": (png, len(png) - 12, chunk(b"abCd", b"")),
        "PNG, profiles": (png, 33, profile),
        "PNG, profiles after the pixels": (png, len(png) - 12, profile),
        "PNG, texts without a keyword": (png, 33, chunk(b"zTXt", b"\0\0" + zeros)),
        "PNG, texts not in UTF-8": (png, 33, chunk(b"iTXt", b"k\0\1\0\0\0" + accents)),
        "GIF, comments": (gif, gif_start, b"\x21\xfe\1a\0"),
        "GIF, empty blocks": (gif, gif_start, b"\x21\xf9\4\0\0\0\0\0"),
        "GIF, junk": (gif, gif_start, b"\0"),
        "WebP, chunks behind the pixels": (webp, len(webp), b"ABCD\0\0\0\0"),
        "SVG, comments": (b"<!--", 4, b"<!--"),
        "JSON": (b"[", 1, b"["),
        "HEIC, brands": (struct.pack(">I4s", size, b"ftyp"), 8, b"heic"),
    }
    lines = chunk(b"tEXt", b"Raw profile type exif\0" + b"\n" * (size - len(png) - 34))
    return {name: filled(*parts) for name, parts in inside.items()} | {
        "PNG, text of many lines": png[:33] + lines + png[33:]
    }


def costly():
    """Return files that cost seconds or gigabytes without the limits, by name."""
    height = 40_000_000 // 16_384
    return {
        "40 MP": large_png(),
        "40 MP, cut short": large_png(whole=False),
        "40 MP, 16 bits": large_png(16),
        "arithmetic": coded_as(0xC9),
        "arithmetic, progressive": coded_as(0xCA),
        "EXIF": many_exif(),
        "components": many_components(),
        "RLE": run_lengths((16_384, height), b"\1\0\0\0" * height),
        "RLE without end": run_lengths((2000, 2000), b"\0\2\0\0" * 2_000_000),
    }
