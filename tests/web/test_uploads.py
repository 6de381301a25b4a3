"""Plain forms are read without a parser: the same file is found, or none."""

import asyncio

import httpx
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.web.uploads import only_file, parse_form

TYPE = "multipart/form-data; boundary=x"
PIECES = [
    *(b"--x", b"--x--", b"\r\n", b"\r\n\r\n", b"\r\n--x", b"--", b"x", b"\x00\xff", b"\n"),
    b'Content-Disposition: form-data; name="file"; filename="a.jpg"',
    b'content-disposition: form-data; name="file"; filename=""',
    b'Content-Disposition: form-data; name="file"',
    b'Content-Disposition: form-data; name="text"; filename="b"',
    b'Content-Disposition: form-data; name="FILE"; filename="a.jpg"',
    b"Content-Type: image/jpeg",
]


def parsed(body):
    """Return what the parser finds; None for a malformed form."""

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", TYPE.encode())]}
    try:
        return asyncio.run(parse_form(Request(scope, receive)))
    except BadRequestError:
        return None


@pytest.mark.parametrize("data", [b"", b"PIXELS", b"\r\n\r\n--", b"\r\n--y--\r\n", bytes(256)])
def test_forms_of_usual_clients_are_plain(data):
    """Forms of httpx and curl are read without the parser."""
    sent = httpx.Request("POST", "http://x", files={"file": ("a b.jpg", data, "image/jpeg")})
    curl = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--x--\r\n'
    )

    assert data == only_file(sent.headers["content-type"], sent.read())
    assert data == only_file(TYPE, curl % data)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_plain_form_has_the_file_that_the_parser_finds(middle):
    """For every form the same file is found as by the parser, or none."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for body in (
        middle,
        b"--x\r\n" + middle,
        head + middle,
        head + middle + b"\r\n--x--",
        middle + b"--x--\r\n",
    ):
        found = only_file(TYPE, body)
        assert found is None or found == parsed(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=y",
        "multipart/form-data; boundary=\u00e9",
    ],
)
def test_form_with_another_boundary_is_not_plain(content_type):
    """A form whose boundary differs from the one in Content-Type is not plain."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--x--\r\n'

    assert only_file(content_type, body) is None
