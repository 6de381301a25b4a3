"""Text that people write, and text that is shown to them: names of files and labels may have any characters.

Of what people write (manifests, labels, keys), Windows' editors and shells do not write plain UTF-8.
"""

import codecs
import os
from pathlib import Path
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REMEDY: Final = "save the file as UTF-8"


def read_text(path: Path) -> str:
    """Read a file of text; see `decode_text`, whose errors this raises, and OSError."""
    return decode_text(path.read_bytes())


def decode_text(data: bytes) -> str:
    r"""Decode text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; its lines end with \n.

    The mark is not part of the text.

    Raises:
        ValueError: For any other bytes, with a sentence that names the first wrong line.
    """
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    try:
        # The codecs of UTF-16 and UTF-32 take the byte order from the mark, and drop it.
        text = data[len(mark) if encoding == "utf-8" else 0 :].decode(encoding)
    except UnicodeDecodeError as exc:
        if encoding != "utf-8":
            raise ValueError(
                f"begins as {encoding.upper()} does, but is damaged: {_REMEDY}"
            ) from exc
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ValueError(
            f"line {line} has the byte 0x{exc.object[exc.start]:02x}, which is not UTF-8: {_REMEDY}"
        ) from exc
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"line {line} has a zero byte, as in UTF-16 without a byte order mark: {_REMEDY}"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def printable(text: str) -> str:
    """Escape, as in a Python string, characters that would act on a terminal or reorder text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def name_of(path: Path | str) -> str:
    """Return the name of a file as valid text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
