"""The short way to the file of a form: it finds what the general parser finds, or nothing."""

import asyncio

import httpx
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.web.plain_form import only_file
from app.web.uploads import _parse

TYPE = "multipart/form-data; boundary=x"
PIECES = [
    *(b"--x", b"--x--", b"\r\n", b"\r\n\r\n", b"\r\n--x", b"--", b"x", b"\x00\xff", b"\n"),
    b'Content-Disposition: form-data; name="file"; filename="a.jpg"',
    b'content-disposition: form-data; name="file"; filename=""',
    b'Content-Disposition: form-data; name="file"',
    b'Content-Disposition: form-data; name="text"; filename="b"',
    b"Content-Type: image/jpeg",
]


def general(body):
    """Return what the general parser finds, or None where it finds a mistake."""

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", TYPE.encode())]}
    try:
        return asyncio.run(_parse(Request(scope, receive)))
    except BadRequestError:
        return None


@pytest.mark.parametrize("data", [b"", b"PIXELS", b"\r\n\r\n--", b"\r\n--y--\r\n", bytes(256)])
def test_usual_clients_take_the_short_way(data):
    """What httpx and curl send is found at once."""
    sent = httpx.Request("POST", "http://x", files={"file": ("a b.jpg", data, "image/jpeg")})
    curl = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--x--\r\n'
    )

    assert data == only_file(sent.headers["content-type"], sent.read(), "file")
    assert data == only_file(TYPE, curl % data, "file")


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_never_another_file_than_the_general_parser_finds(middle):
    """Of any form the short way finds the same file, or leaves it to the general parser."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for body in (middle, head + middle, head + middle + b"\r\n--x--", middle + b"--x--\r\n"):
        found = only_file(TYPE, body, "file")
        assert found is None or found == general(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=y",
        "multipart/form-data; boundary=\u00e9",
    ],
)
def test_other_boundaries_are_left_alone(content_type):
    """A form with another boundary than was said is no plain form."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--x--\r\n'

    assert only_file(content_type, body, "file") is None
