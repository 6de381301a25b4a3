"""JSON of clients: photos come out whole, and whatever else is in it costs little."""

import json
import time
import tracemalloc
from base64 import b64encode, encodebytes, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadRequestError
from app.web.protocols.json_body import JsonBody, is_json
from tests.conftest import PHOTOS, png

PHOTO = (PHOTOS / "rocket.jpg").read_bytes()
TEXT = b64encode(PHOTO).decode()


def photo_in(text, body=None):
    read = JsonBody(body or json.dumps({"inputs": text}).encode())
    return read.photo(read.members["inputs"], "inputs")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        urlsafe_b64encode(PHOTO).decode(),
        encodebytes(PHOTO).decode(),
        f"data:image/jpeg;base64,{TEXT}",
        f"DATA:image/jpeg;base64,{TEXT}",
        f"  {TEXT}\r\n",
    ],
)
def test_base64_of_every_client_is_read(text):
    """Without padding, of the URL's alphabet, in lines, as a data URL."""
    assert PHOTO == photo_in(text)


@pytest.mark.parametrize(
    ("plain", "escaped"), [("/", "\\/"), ("+", "\\u002b"), ("=", "\\u003D"), ("A", "\\u0041")]
)
def test_escapes_within_a_photo_are_read(plain, escaped):
    """PHP escapes slashes, .NET plus signs."""
    body = json.dumps({"inputs": TEXT}).replace(plain, escaped) if plain != "A" else ""
    body = body or '{"inputs": "' + TEXT.replace(plain, escaped) + '"}'

    assert PHOTO == photo_in(TEXT, body.encode())


@pytest.mark.parametrize("data", [b"", b"a", png(), PHOTO[:190], PHOTO[:191], PHOTO[:192]])
def test_photos_of_any_size_are_read(data):
    """A short string is parsed and a long one is not; both are the same to the caller."""
    assert data == photo_in(b64encode(data).decode())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"a', b'{"a": "b}', b'{"inputs": ', b"{'inputs': 1}", b'"' * 300, b"\xff{}",
        b'{"a": 1}}', b'{"a": "\\', b'{"a": "' + b"\\" * 1000 + b'"}', b'{"a": "\x01"}',
        b'{"a":' * 9000, b"[" * 200_000, b'{"a": ' + b"1" * 5000 + b"}", b'{"a\xed\xa0\x80": 1}',
        '{"a": 1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(body):
    """Cut off, nested without end, in another encoding: one sentence."""
    with pytest.raises(BadRequestError, match="not valid JSON"):
        JsonBody(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1]", "not an object"),
        (b'"' + b"A" * 1000 + b'"', "not an object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "NaN"),
        (b'{"a": 1, "a": 2}', "a name twice"),
        (b'{"a": {"b": 1, "b": 1}}', "a name twice"),
        (b'{"a": "b"' + b" " * 300_000 + b"}", "256 kB beside its photos"),
        (b'{"a": [' + b'"x",' * 20_000, "256 kB"),
    ],
)
def test_what_is_odd_is_refused(body, words):
    """A sentence says what is wrong with it."""
    with pytest.raises(BadRequestError, match=words):
        JsonBody(body)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "expected a photo"),
        (None, "expected a photo"),
        ({"b64": TEXT}, "expected a photo"),
        ("not base64!", "not a photo in base64"),
        ("\u732b" * 300, "not a photo in base64"),
        (TEXT[:1000] + "*" + TEXT[1000:], "not a photo in base64"),
        (TEXT[:1001], "not a photo in base64"),
        ("https://example.org/" + "a" * 300, "fetches nothing"),
    ],
)
def test_what_is_no_photo_is_refused(value, words):
    """The sentence names the member."""
    with pytest.raises(BadRequestError, match=f"inputs: .*{words}"):
        photo_in(value)


@pytest.mark.parametrize(
    "unit", [b"[],", b"{},", b"0.1,", b'"",', b'"a":', b'\\"', b"\\", b'"\\', b"\0", b"nul,"]
)
@pytest.mark.parametrize("start", [b'{"a":[', b'{"a": "'])
def test_a_hostile_body_costs_little(start, unit):
    """25 MB of it take little memory and at most a second of processor time."""
    body = start + unit * (25_000_000 // len(unit))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(BadRequestError):
        JsonBody(body)
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert seconds < 1
    assert peak < 5_000_000


LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=300)
NAMES = st.text(max_size=9)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=5
)


@settings(max_examples=40)
@given(value=st.dictionaries(NAMES, VALUES, max_size=3), ascii_only=st.booleans())
def test_it_reads_what_json_reads(value, ascii_only):
    """Short strings, escaped or not, are what json.loads makes of them, wherever they stand."""

    def cut(one):
        match one:
            case str():
                return one if len(one) < 20 else None
            case list():
                return [cut(item) for item in one]
            case dict():
                return {name: cut(item) for name, item in one.items()}
        return one

    plain = cut(value)
    text = json.dumps(plain | {"photo": TEXT}, ensure_ascii=ascii_only)
    read = JsonBody(text.encode("utf-8"))

    assert PHOTO == read.photo(read.members.pop("photo"), "photo")
    assert plain == read.members


def test_bodies_are_told_apart_by_their_first_character():
    """Whatever their type says, which curl and libraries often get wrong."""
    assert is_json("application/x-www-form-urlencoded", b' \r\n{"inputs": ""}')
    assert is_json("", b"\xef\xbb\xbf{}")
    assert is_json("application/json", b"")
    assert not is_json("application/json", PHOTO)
    assert not is_json("", b"")
