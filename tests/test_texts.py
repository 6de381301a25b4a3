"""Text is read in every encoding that says which it is; any other is named, with its line and a remedy.

Whatever a text or a name has in it, it can be shown.
"""

import codecs
import os
from pathlib import Path

import pytest

from app.texts import decode_text, name_of, printable, read_text

TEXT = 'name = "naïve 😀"\nüber = 2\n'


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_marked_text_is_read(tmp_path, mark, encoding, ends):
    """UTF-8 with and without a mark, UTF-16 and UTF-32 with one, with the ends of lines of any system."""
    path = tmp_path / "text"
    path.write_bytes(mark + TEXT.replace("\n", ends).encode(encoding))

    assert TEXT == read_text(path)


@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_empty_text(data):
    """A mark alone is an empty text."""
    assert "" == decode_text(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode("cp1252", "ignore"), "line 1 has the byte 0xef, which is not UTF-8"),
        (b"a\nb\nc\xfc", "line 3 has the byte 0xfc, which is not UTF-8"),
        (codecs.BOM_UTF8 + b"a\n\xff", "line 2 has the byte 0xff, which is not UTF-8"),
        (TEXT.encode("utf-16-le"), "line 1 has "),
        ("ab\n".encode("utf-16-le"), "line 1 has a zero byte, as in UTF-16 without a byte order"),
        ("ab\n".encode("utf-16-be"), "line 1 has a zero byte, as in UTF-16 without a byte order"),
        (codecs.BOM_UTF16_LE + b"a\0b", "begins as UTF-16 does, but is damaged"),
        (codecs.BOM_UTF16_BE + b"\xd8\0\0a", "begins as UTF-16 does, but is damaged"),
        (codecs.BOM_UTF32_LE + b"a\0b\0", "begins as UTF-32 does, but is damaged"),
        (b"a\0b", "line 1 has a zero byte"),
    ],
)
def test_other_bytes_are_named(data, said):
    """The sentence names what was found, where, and what to do."""
    with pytest.raises(ValueError, match=f"{said}.*: save the file as UTF-8$"):
        decode_text(data)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 日本.jpg", "café 日本.jpg"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\udcff", r"\udcff"),
    ],
)
def test_no_text_acts_on_a_terminal(text, shown):
    """Escapes, line ends and marks that turn text around are shown as such."""
    assert shown == printable(text)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_name_that_is_not_utf_8_is_valid_text():
    """The bytes that are no UTF-8 are escaped, all others stay."""
    assert "é\\xe9.jpg" == name_of(Path(os.fsdecode("é".encode() + b"\xe9.jpg")))
