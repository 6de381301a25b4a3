"""Forms of many clients, right and wrong: each has its file found, or gets a sentence that helps."""

import time
from contextlib import suppress

import pytest

from app.errors import BadRequestError, RequestError, UnsupportedFormatError
from app.web.forms import find_files, refuse_hidden_form
from tests.conftest import PHOTOS

PHOTO = b"\xff\xd8\xff\r\n--\n\r\n--X\x00" + bytes(2000)
FILE = 'form-data; name="file"; filename="a.jpg"'
TYPE = "multipart/form-data; boundary=XX"


def part(disposition=FILE, data=PHOTO, more="", boundary="XX"):
    return (
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode()
        + data
        + b"\r\n"
    )


def form(*parts, boundary="XX"):
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def find_file(content_type, body):
    """Return the only file, or raise what stands in its place."""
    [file] = find_files(content_type, body)
    if isinstance(file, RequestError):
        raise file
    return file


def refusal(body, content_type=TYPE):
    """Return the sentence with which a form is refused."""
    with pytest.raises(RequestError) as caught:
        find_file(content_type, body)
    return str(caught.value)


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="file"; filename="a.jpg"',
        'form-data; name="file"; filename=""',
        "form-data; name=file; filename=a.jpg; filename*=utf-8''a.jpg",  # .NET
        "form-data; name=\"file\"; filename*=utf-8''%D0%BA%D0%BE%D1%82.jpg",  # requests 2.21
        'form-data; name="file"; filename*0=a; filename*1=.jpg',
        'form-data; name="file"',  # a Buffer in axios, ByteArrayResource in Spring
        'form-data; filename="a;name=b.jpg"; name="file"',
        'form-data; name="file"; filename="a\\"b.jpg"',
        'form-data; name="file"; filename="' + "\u732b" * 200 + '.jpg"',
        'form-data;\r\n name="file";\r\n\tfilename="a.jpg"',  # folded
        "FORM-DATA; NAME=file",
    ],
)
def test_a_part_named_file_is_the_file(disposition):
    """With a file name of any kind, or without one."""
    assert PHOTO == find_file(TYPE, form(part(disposition)))


@pytest.mark.parametrize(
    "more",
    [
        "Content-Type: image/jpeg\r\n",
        "content-type:application/octet-stream\r\nContent-Length: 2014\r\n",
        "Content-Transfer-Encoding: binary\r\n",
        "Content-Transfer-Encoding: 8BIT\r\nX-Other: 1\r\n",
    ],
)
def test_other_headers_of_a_part_change_nothing(more):
    """Clients write more headers than one, in any case."""
    assert PHOTO == find_file(TYPE, form(part(more=more)))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=XX", "XX"),
        ("Multipart/Form-Data; Boundary=XX", "XX"),
        ("multipart/form-data; charset=klingon; boundary=XX", "XX"),
        ("multipart/form-data;boundary=XX;charset=utf-8", "XX"),
        ('multipart/form-data; boundary="XX"', "XX"),
        ('multipart/form-data; boundary="a b:c?/=(d)+_,.e"', "a b:c?/=(d)+_,.e"),
        ("multipart/form-data; boundary=--XX", "--XX"),
        ("multipart/form-data; boundary=" + "x" * 200, "x" * 200),
        ("multipart/mixed; boundary=XX", "XX"),
    ],
)
def test_boundaries(content_type, boundary):
    """Quoted, odd and long ones, among other parameters."""
    body = form(part(boundary=boundary), boundary=boundary)

    assert PHOTO == find_file(content_type, body)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" + form(part()),
        b"This is a message in MIME format.\r\n" + form(part()),
        b"--X\r\n--XY\r\n".replace(b"--XY", b"--Y") + form(part()),
        form(part()) + b"behind it\r\n--XX\r\nmore",
        form(part()).removesuffix(b"\r\n"),
        form(part()).replace(b"--XX\r\n", b"--XX \t\r\n"),
    ],
)
def test_what_stands_around_the_parts_is_skipped(body):
    """Before the first boundary, behind the last one, and blanks behind a boundary."""
    assert PHOTO == find_file(TYPE, body)


@pytest.mark.parametrize(
    "other",
    [
        part('form-data; name="submit"', b"Upload"),
        part('form-data; name="_charset_"', b"utf-8"),
        part('form-data; name="mode"', b"fast"),  # one letter from a parameter
        part('form-data; name="token"', b"x" * 40),
        part('form-data; name="metadata"', b"{}" * 1000, "Content-Type: application/json\r\n"),
        part('form-data; name="title"', "\u732b\r\n".encode() * 2000),
        part('form-data; name="second"; filename=""', b"", "Content-Type: image/jpeg\r\n"),
        part('form-data; name="file"; filename=""', b""),
        b"".join(part(f'form-data; name="f{number}"', b"") for number in range(15)),
    ],
)
def test_harmless_fields_beside_the_file_are_ignored(other):
    """A button, a token, and inputs in which no file was chosen, before the file or behind it."""
    assert PHOTO == find_file(TYPE, form(part(), other))
    assert PHOTO == find_file(TYPE, form(other, part()))


@pytest.mark.parametrize(
    ("name", "address"),
    [("top_k", "?top_k=1"), ("topK", "?top_k=1"), ("top-k", "?top_k=1"), ("model", "?model=NAME")],
)
def test_parameters_beside_the_file_are_refused(name, address):
    """They would be ignored; the sentence shows where they belong."""
    assert address in refusal(form(part(), part(f'form-data; name="{name}"', b"1")))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty. Send a part named 'file'. With curl: -F file=@photo.jpg"),
        (form(), "no file part named 'file'"),
        (form(part('form-data; name="url"', b"http://localhost/a.jpg")), "fetches nothing"),
        (form(part('form-data; name="image"; filename="a.jpg"')), "the part 'image' to 'file'"),
        (form(part('form-data; name="file[]"; filename="a"')), "the part 'file[]' to 'file'"),
        (form(part('form-data; name="files"')), "the part 'files' to 'file'"),
        (form(part('form-data; name="a\x01b"; filename="a"')), "the part to 'file'"),
        (form(part("form-data"), b""), "no file part named 'file'"),
        (form(part("form-data; name=\u00e9; filename=a")), "the part to 'file'"),
        (form(part(), part()), "Too many files: the form has 2"),
        (form(part(), part('form-data; name="image"; filename="b"')), "Too many files"),
        (form(part(), part('form-data; name="more"', bytes(70_000))), "Too many files"),
        (form(part(), *[part('form-data; name="a"', b"")] * 16), "more than 16 parts"),
        (form(part()).removesuffix(b"--XX--\r\n"), "cut off"),
        (form(part()).removesuffix(b"--\r\n"), "cut off"),
        (form(part()).removesuffix(b"--\r\n") + b"\r\n", "cut off"),
        (form(part())[:500], "cut off"),
        (b"--XX", "cut off"),
        (b"--XX\r\nbroken", "cut off"),
        (form(part()).replace(b"\r\n", b"\n"), "LF alone"),
        (b"before it\n" + form(part()).replace(b"\r\n", b"\n"), "LF alone"),
        (form(part()).replace(b"--XX\r\n", b"--XX\n"), "LF alone"),
        (form(part(data=b"\xff\xd8")).replace(b"\r\n\r\n", b"\n\n"), "LF alone"),
        (form(part()).replace(b"\r\n--XX--", b"\n--XX--"), "LF alone"),
        (form(part()).replace(b"\r\n--XX--", b"--XX--"), "Write CRLF before it"),
        (form(part(boundary="YY"), boundary="YY"), "boundary that the header Content-Type names"),
        (form(part(boundary="xx"), boundary="xx"), "boundary that the header Content-Type names"),
        (form(part(boundary="XXY"), boundary="XXY"), "characters behind it"),
        (form(part(data=b"\r\n--XXX\r\n")), "occurs within a part"),
        (form(b"--XX\r\nno header\r\n"), "do not end with a blank line"),
        (form(part(more="X: " + "y" * 9000 + "\r\n")), "do not end with a blank line"),
        (form(part(more="Content-Transfer-Encoding: base64\r\n")), "as they are"),
        (form(part(more="Content-Transfer-Encoding: quoted-printable\r\n")), "as they are"),
        (form(part(data=form(part(boundary="YY"), boundary="YY"))), "is a form itself"),
        (form(part('form-data; name="file"', b"photo.jpg")), "-F file=@photo.jpg"),
        (form(part('form-data; name="file"', b"https://localhost/a.jpg")), "fetches nothing"),
        (form(part('form-data; name="file"; filename=""', b"")), "no photo was chosen"),
        (form(part('form-data; name="file"', b"")), "no photo was chosen"),
    ],
)
def test_what_is_wrong_is_named(body, words):
    """Whatever is wrong with a form, the sentence says it."""
    assert words in refusal(body)


def test_several_files_come_in_order_and_an_empty_one_keeps_its_place():
    """A field or an input without a file is none of them; a file of no bytes is one that is wrong."""
    photos = [PHOTO, PHOTO[:50], b""]
    parts = [part(FILE, data) for data in photos]
    body = form(
        part('form-data; name="file"; filename=""', b""), *parts, part('form-data; name="x"', b"1")
    )
    found = find_files(TYPE, body, most=3)

    assert photos[:2] == found[:2]
    assert isinstance(found[2], UnsupportedFormatError)
    with pytest.raises(BadRequestError, match="the limit is 2"):
        find_files(TYPE, body, most=2)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; charset=utf-8", "multipart/form-data; boundary="],
)
def test_missing_boundary_is_named(content_type):
    """A client that sets Content-Type by hand learns not to."""
    assert "Let the client set this header" in refusal(form(part()), content_type)


def test_names_that_are_no_names_are_not_repeated():
    """What a client sends as a name comes back only if it is a plain one."""
    name = "<b>" + "x" * 50
    body = form(part(f'form-data; name="{name}"; filename="secret.jpg"'))

    assert not {"<b>", "xxx", "secret"} & {word for word in refusal(body).split("'") if word}
    assert "secret" not in refusal(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (form(part()), BadRequestError),
        (b"file=%FF%D8%FF%E0", UnsupportedFormatError),
        (b"image=" + b"A" * 5000, UnsupportedFormatError),
    ],
)
def test_form_that_says_to_be_something_else_is_named(body, error):
    """A form under another Content-Type, and one without files."""
    with pytest.raises(error, match="form"):
        refuse_hidden_form(body)


def test_a_photo_damaged_by_curl_is_named():
    """Curl -d takes out zeros and line breaks, which was called a damaged header."""
    with pytest.raises(BadRequestError, match="--data-binary"):
        refuse_hidden_form((PHOTOS / "coffee.jpg").read_bytes().translate(None, b"\0\r\n"))
    refuse_hidden_form((PHOTOS / "coffee.jpg").read_bytes())


@pytest.mark.parametrize("body", [b"", PHOTO, b"--", b"GIF89a=\x00", b"no form"])
def test_what_is_no_form_passes(body):
    """Curl --data-binary calls every file a form."""
    refuse_hidden_form(body)


@pytest.mark.parametrize(
    "filling", [b"\r\n--X", b"\r\n--XY", b"\n--XX", b"\r\n", b"--XX", b"\r\n--XX\r\n\r\n"]
)
def test_body_that_nearly_holds_the_boundary_costs_little(filling):
    """4 MB of it are read within 0.2 s of processor time; python-multipart took up to 0.9 s."""
    body = form(part(data=filling * (4_000_000 // len(filling))))
    began = time.process_time()
    with suppress(BadRequestError):
        find_file(TYPE, body)

    assert time.process_time() - began < 0.2
