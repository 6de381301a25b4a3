"""The files in a form, whatever client wrote it, and a sentence about every mistake in a form.

python-multipart reads the parameters of headers. It does not split the body: 10 MB that nearly hold
the boundary again and again keep its parser, and with it the whole process, busy for 2.3 s, and it
does not say what is wrong in words that help. The body is in memory, so finding a boundary is one search.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Never

from python_multipart.multipart import parse_options_header

from app.errors import BadRequestError, RequestError, UnsupportedFormatError
from app.images.formats import TITLES
from app.web.openapi import FIELD
from app.web.parameters import EXAMPLES, spelled_parameter

_MOST_FIELDS: Final = 15
"""Parts beside the files."""
_MOST_HEADER_BYTES: Final = 8192
_MOST_TEXT_BYTES: Final = 65_536
"""Of a field beside the file; a longer one is taken for a file."""
_MOST_PATH_BYTES: Final = 1024
"""Of what curl sends for `-F file=photo.jpg`, where the @ is missing, or of an address."""

_AFTER_BOUNDARY: Final = re.compile(rb"(--)|[ \t]*\r\n")
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_LOST_BYTES: Final = re.compile(rb"[\0\r\n]")
"""What curl -d takes out of a file."""
_FILE_NAME: Final = re.compile(
    rb";\s*filename\*?\s*=\s*(?P<none>(\"\")?\s*(?:;|$))?", re.IGNORECASE
)
_SANE_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,31}")
_PRINTABLE: Final = re.compile(rb"[\t -~]+")
_FIELDS: Final = re.compile(rb"[\w.%+\[\]-]{1,64}=[ -~]*")
_AS_IT_IS: Final = frozenset({b"", b"binary", b"8bit", b"7bit"})
_CURL: Final = f"With curl: -F {FIELD}=@photo.jpg"
_DISPOSITION: Final = b"content-disposition:"
_HEAD_BYTES: Final = 512
"""Of a body that may be a form, though nothing says so."""
_LET_THE_CLIENT: Final = "Let the client set this header: give it the form alone."


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a form.

    Attributes:
        name: Of the field.
        named_file: Whether it has a file name, `filename` or `filename*`, however empty.
        no_choice: Whether it is what a browser sends for an input in which no file was chosen.
        is_field: Whether it is a short text without a file name, such as that of a button.
        encoding: Its Content-Transfer-Encoding; empty for none.
        start, end: Where its data are in the body.
    """

    name: bytes
    named_file: bool
    no_choice: bool
    is_field: bool
    encoding: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        """Return its bytes."""
        return self.end - self.start


def find_files(
    content_type: str, body: bytes, names: tuple[str, ...] = (FIELD,), most: int = 1
) -> list[bytes | RequestError]:
    """Return the files of a form, in order: its parts of these names, with a file name or without.

    In place of a file that cannot be one, such as an empty one, stands the error that says so.
    Empty file inputs and short fields beside them are ignored, unless they are parameters, which
    belong into the address.

    Raises:
        BadRequestError: If the form is malformed, has no such part, more files than `most`, or
            files under other names.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise BadRequestError(
            f"The header Content-Type does not name the boundary of the form. {_LET_THE_CLIENT}"
        )
    parts = list(_parts(body, b"--" + boundary, most + _MOST_FIELDS))
    wanted = {name.encode() for name in names}
    files = [part for part in parts if part.name in wanted]
    files = [part for part in files if not part.no_choice] or files[:1]
    others = [part for part in parts if part.name not in wanted]
    others = [part for part in others if part.size or not part.named_file]
    if not files:
        _refuse_names(others)
    beside = [part for part in others if not part.is_field]
    if beside or len(files) > most:
        raise _too_many(len(files) + len(beside), most)
    for part in others:
        parameter = spelled_parameter(part.name.decode("latin-1"))
        if parameter:
            raise BadRequestError(
                f"The form has a field beside {FIELD!r} for a parameter. Parameters belong in the"
                f" URL: /predict?{parameter}={EXAMPLES.get(parameter, 'NAME')}"
            )
    return [_content_of(file, body) for file in files]


def _content_of(file: _Part, body: bytes) -> bytes | RequestError:
    """Return the bytes of a file, or why it is none."""
    if file.encoding.lower() not in _AS_IT_IS:
        return BadRequestError(
            f"The part {FIELD!r} is encoded, as its Content-Transfer-Encoding says. Send the bytes"
            " of the image as they are, not as base64 or the like."
        )
    if not file.size:
        return UnsupportedFormatError(
            f"The part {FIELD!r} is empty: no photo was chosen. Send {TITLES}."
        )
    data = body[file.start : file.end]
    if not file.named_file and file.size <= _MOST_PATH_BYTES and _PRINTABLE.fullmatch(data):
        return BadRequestError(
            f"The multipart body has no file: its part {FIELD!r} is a text. The server fetches"
            f" nothing. {_CURL}"
        )
    if data.startswith(b"--") and _DISPOSITION in data[:_HEAD_BYTES].lower():
        return BadRequestError(
            f"The part {FIELD!r} is a form itself, not a photo. Send one form, with the photo in it."
        )
    return data


def refuse_hidden_form(body: bytes) -> None:
    """Refuse a body that is a form, although its Content-Type does not say so, or says urlencoded.

    Images pass, of which curl --data-binary says that they are urlencoded; those that curl -d has
    damaged do not.

    Raises:
        BadRequestError: If it is a multipart body, or a damaged image.
        UnsupportedFormatError: If it is urlencoded.
    """
    head = body[:_HEAD_BYTES]
    if head.startswith(b"--") and _DISPOSITION in head.lower():
        raise BadRequestError(
            "The body is a form, but the header Content-Type does not say so. " + _LET_THE_CLIENT
        )
    if _FIELDS.fullmatch(head):
        raise UnsupportedFormatError(
            "A form of type application/x-www-form-urlencoded cannot hold a photo. Send"
            f" multipart/form-data with a part named {FIELD!r}, or the image itself ({TITLES})."
        )
    if _NOT_TEXT.search(head) and not _LOST_BYTES.search(head):
        raise BadRequestError(
            "The photo lost its zeros and line breaks, as with curl -d. Send it with curl"
            " --data-binary @photo.jpg"
        )


def _parts(body: bytes, delimiter: bytes, most: int) -> Iterator[_Part]:
    """Yield the parts of a form; what stands before the first and behind the last is skipped."""
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:  # it was not found
        _refuse_start(body, delimiter)
    for number in range(most + 1):
        after = _AFTER_BOUNDARY.match(body, at + len(delimiter))
        if after is None:
            _refuse_boundary(body, at, delimiter)
        if after[1]:
            return
        if number == most:
            raise _malformed(f"it has more than {most} parts")
        start = after.end()
        at = body.find(b"\r\n" + delimiter, start - 2) + 2
        if at == 1:
            _refuse_end(body, start, delimiter)
        yield _part(body, start, at - 2)


def _part(body: bytes, start: int, end: int) -> _Part:
    header_end = body.find(b"\r\n\r\n", start - 2, min(end, start + _MOST_HEADER_BYTES))
    if header_end < 0:
        if b"\n\n" in body[start : min(end, start + _MOST_HEADER_BYTES)]:
            _refuse_line_ends()
        raise _malformed("The headers of a part do not end with a blank line")
    headers: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", body[start:header_end]).split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get(b"content-disposition", b"")
    file_name = _FILE_NAME.search(disposition)
    named_file = file_name is not None
    start = header_end + 4
    short = end - start <= _MOST_TEXT_BYTES
    return _Part(
        name=parse_options_header(disposition)[1].get(b"name", b""),
        named_file=named_file,
        no_choice=file_name is not None and file_name["none"] is not None and start == end,
        is_field=not named_file and short and not _NOT_TEXT.search(body, start, end),
        encoding=headers.get(b"content-transfer-encoding", b""),
        start=start,
        end=end,
    )


def _too_many(files: int, most: int) -> BadRequestError:
    if files > most > 1:
        return BadRequestError(
            f"Too many files: the form has {files}; the limit is {most}. Send the others in another"
            " request.",
            limit={"files": most},
        )
    several = "one request per photo, in a part" if most == 1 else "each photo in a part"
    return BadRequestError(f"Too many files: the form has {files}. Send {several} named {FIELD!r}.")


def _refuse_names(others: list[_Part]) -> Never:
    """Refuse a form without a part named FIELD; name the part that seems to be meant."""
    likely = next((part for part in others if not part.is_field), None)
    if likely is None:
        raise BadRequestError(
            f"The multipart body has no file part named {FIELD!r}. The server fetches nothing."
            f" {_CURL}"
        )
    name = f" {likely.name.decode()!r}" if _SANE_NAME.fullmatch(likely.name) else ""
    raise BadRequestError(
        f"The multipart body has no file part named {FIELD!r}: rename the part{name} to {FIELD!r}."
        f" {_CURL}"
    )


def _refuse_start(body: bytes, delimiter: bytes) -> Never:
    if not body:
        raise BadRequestError(f"The multipart body is empty. Send a part named {FIELD!r}. {_CURL}")
    if b"\n" + delimiter in body:
        _refuse_line_ends()
    raise _malformed(
        f"it does not contain the boundary that the header Content-Type names. {_LET_THE_CLIENT}"
    )


def _refuse_boundary(body: bytes, at: int, delimiter: bytes) -> Never:
    end = at + len(delimiter)
    if body[end : end + 1] == b"\n":
        _refuse_line_ends()
    if not body[end:].strip(b" \t\r-"):
        _refuse_cut()
    raise _malformed("its boundary occurs within a part, or has characters behind it")


def _refuse_end(body: bytes, start: int, delimiter: bytes) -> Never:
    found = body.find(delimiter, start)
    if found < 0:
        _refuse_cut()
    if body[found - 1 : found] == b"\n":
        _refuse_line_ends()
    raise _malformed("a boundary does not stand at the beginning of a line. Write CRLF before it")


def _refuse_cut() -> Never:
    raise _malformed("it is cut off, as its last boundary is missing. Send all of it again")


def _refuse_line_ends() -> Never:
    raise _malformed("its lines end with LF alone. End them with CRLF")


def _malformed(what: str) -> BadRequestError:
    return BadRequestError(f"The multipart body is malformed: {what.rstrip('.')}.")
