import json
import os
import shutil
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnsupportedFormatError
from app.images.formats import FORMATS, identify
from tests.conftest import REPOSITORY


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
    """The first bytes alone tell the five formats apart."""
    assert name == identify(head).name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"avif", b"mif1"), "AVIF"),
        (ftyp(b"mif1", b"miaf", b"avif"), "AVIF"),
        (ftyp(b"isom", b"mp41"), "MP4 video"),
        (ftyp(b"qt  "), "MP4 video"),
        (b"\x1a\x45\xdf\xa3\x01", "WebM video"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "AVI video"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript (EPS)"),
        (b"\xc5\xd0\xd3\xc6\x1e\0\0\0", "PostScript (EPS)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x29", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop (PSD)"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"PK\3\4\x14\0", "ZIP"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x93NUMPY\1\0", "NumPy"),
        (
            b"\xff\xd8\xff\xe0\0\x10JFIF".decode(errors="replace").encode(),
            "An image that was read as text",
        ),
        (b"\x89PNG\r\n\x1a\n".decode(errors="replace").encode(), "An image that was read as text"),
        (b"\xff\xd8\xff\xe1".decode("latin-1").encode(), "An image that was read as text"),
        (b"\x89PNG\r\n\x1a\n".decode("latin-1").encode(), "An image that was read as text"),
        (b"iVBORw0KGgoAAAANSUhEUg", "Base64 text"),
        (b"data:image/png;base64,iVBOR", "Base64 text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a <b> -->\n<svg>", "SVG"),
        (b"<!DOCTYPE html><html><svg></svg></html>", "HTML"),
        (b"\n<html lang=en>", "HTML"),
        (b"<?xml version='1.0'?><rss/>", "XML"),
        (b'{"image": "..."}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"BM is not always a bitmap", "Plain text"),
        ("Grüße, ".encode() * 100, "Plain text"),
    ],
)
def test_known_formats_that_are_not_read_are_named(data, name):
    """The error names the format that was sent, and those to send instead."""
    with pytest.raises(UnsupportedFormatError) as caught:
        identify(data)

    assert str(caught.value).startswith(
        f"{name} is not supported. Send JPEG, PNG, WebP, GIF or BMP."
    )


def test_an_iphone_is_told_which_setting_to_change():
    """HEIC is what iPhones send: the answer names the setting."""
    with pytest.raises(UnsupportedFormatError, match="Most Compatible"):
        identify(ftyp(b"heic", b"mif1"))


def test_an_empty_body_is_called_empty():
    """An empty body is not called an unknown format."""
    with pytest.raises(UnsupportedFormatError, match=r"^The body is empty\. Send JPEG"):
        identify(b"")


@pytest.mark.parametrize("data", [b"\0\1\2\3", b"BM\xff\xff", b"\xff\xd8", b"\xc3\x28 latin"])
def test_unknown_bytes_are_not_guessed_at(data):
    """An unknown format gets no name."""
    with pytest.raises(UnsupportedFormatError, match=r"^The format of this file is not supported"):
        identify(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_named_or_refused(data):
    """No bytes make it fail."""
    try:
        image_format = identify(data)
    except UnsupportedFormatError:
        return
    assert image_format in FORMATS
    assert image_format.has_end(data) in {True, False}


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
    """Each format has its own way to say where it ends."""
    [image_format] = [one for one in FORMATS if one.name == name]

    assert image_format.has_end(whole)
    assert not image_format.has_end(whole[:-5])


NEW_FORMAT = """    ImageFormat("tiff", "TIFF", TiffImageFile, (".tif",), rb"II", lambda data: True),
"""
USE_IT = """
import asyncio, io, json, sys
from pathlib import Path
import httpx
from PIL import Image
from app.errors import UnsupportedFormatError
from app.setup_errors import SetupError
from app.bench.target import read_pictures
from app.images.formats import identify
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Preprocess
from app.service.app import create_app
from app.service.settings import Settings

def sentence(function, argument):
    try:
        function(argument)
    except (SetupError, UnsupportedFormatError) as exc:
        return str(exc)

async def get(path):
    app = create_app(Settings(models=["vgg16"], model_dir=Path(sys.argv[1])))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return (await client.get(path)).text

file = io.BytesIO()
Image.new("RGB", (16, 16)).save(file, "TIFF")
_, info = prepare(
    file.getvalue(), Preprocess(16, 16, "RGB", (0.0,) * 3, (1.0,) * 3), ImageLimits()
)
print(json.dumps({
    "decoded": info.format,
    "error": sentence(identify, b"%PDF"),
    "bench": sentence(read_pictures, []),
    "page": asyncio.run(get("/")),
    "schema": asyncio.run(get("/openapi.json")),
}))
"""


def test_a_new_format_is_one_row(tmp_path):
    """A row added to FORMATS appears everywhere: errors, schema, command line, page."""
    shutil.copytree(
        REPOSITORY / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    formats = tmp_path / "app" / "images" / "formats.py"
    text = formats.read_text(encoding="utf-8")
    assert 1 == text.count(")  # fmt: skip\n")
    text = text.replace(")  # fmt: skip\n", NEW_FORMAT + ")  # fmt: skip\n")
    text = text.replace(
        "import codecs\n", "import codecs\nfrom PIL.TiffImagePlugin import TiffImageFile\n"
    )
    formats.write_text(text, encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    used = run("-c", USE_IT, str(empty))
    assert "" == used.stderr
    found = json.loads(used.stdout)
    command = run("-m", "app", "predict", str(empty))

    titles = "JPEG, PNG, WebP, GIF, BMP or TIFF"
    assert "tiff" == found["decoded"]
    assert titles in found["error"]
    assert titles in found["bench"]
    assert titles in command.stderr
    assert titles in found["page"]
    assert "image/bmp,image/tiff" in found["page"]
    schema = json.loads(found["schema"])
    predict = schema["paths"]["/predict"]["post"]
    assert "image/tiff" in predict["requestBody"]["content"]
    name = schema["components"]["schemas"]["ImageOut"]["properties"]["format"]
    assert "jpeg, png, webp, gif, bmp or tiff." == name["description"]
