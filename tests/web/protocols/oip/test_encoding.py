"""Compressed bodies, good, bad and malicious."""

import gzip
import tracemalloc
import zlib

import pytest

from app.errors import BadRequestError, BodyTooLargeError
from app.web.protocols.oip.encoding import compress, decompress

TEXT = b"a photo " * 1000


def raw_deflate(data):
    """Compress without zlib's frame, as some clients do."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(TEXT), "gzip"),
        (gzip.compress(TEXT), " X-GZIP "),
        (gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:]), "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
    ],
)
def test_every_form_is_read(body, encoding):
    """One gzip file or several, deflate with its frame or without; up to the very limit."""
    assert TEXT == decompress(body, encoding, len(TEXT))


@pytest.mark.parametrize(
    ("write", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")]
)
def test_bomb_is_not_decompressed(write, encoding):
    """Of 30 MB of zeros in 30 kB no more comes into memory than the limit."""
    bomb = write(bytes(30_000_000))
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError, match="1 MB"):
        decompress(bomb, encoding, 10**6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4e6


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(TEXT)[:-20], "gzip"),
        (gzip.compress(TEXT) + b"junk", "gzip"),
        (gzip.compress(b"") * 100, "gzip"),
        (b"", "gzip"),
        (b"junk", "gzip"),
        (b"", "deflate"),
        (b"junk", "deflate"),
        (TEXT, "br"),
        (gzip.compress(TEXT), "gzip, gzip"),
    ],
)
def test_damage_is_the_clients_mistake(body, encoding):
    """A body that is cut off, no such body, or in another encoding."""
    with pytest.raises(BadRequestError):
        decompress(body, encoding, 10**6)


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0, deflate;q=0.0", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5", "gzip"),
        ("gzip;q=0, DEFLATE", "deflate"),
    ],
)
def test_answer_is_compressed_as_the_client_accepts_it(accept, encoding):
    """It is read back with the standard library."""
    sent, said = compress(TEXT, accept)
    match said:
        case "gzip":
            sent = gzip.decompress(sent)
        case "deflate":
            sent = zlib.decompress(sent)

    assert (encoding, TEXT) == (said, sent)
