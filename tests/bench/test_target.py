import io

import pytest
from PIL import Image

from app.bench.target import Picture, make_pictures, make_target, read_pictures
from app.setup_errors import SetupError
from tests.conftest import png

PICTURE = Picture("a.png", b"PIXELS", "image/png")


def test_form_is_a_multipart_request():
    """A request has one part with the name of the field, and says its length."""
    target = make_target("http://host:81", [PICTURE], field="image", headers=["X-Key: 5"])
    head, _, body = target.requests[0].partition(b"\r\n\r\n")

    assert ("image", ("X-Key",)) == (target.field, target.headers)
    assert ("host", 81, "/predict") == (target.host, target.port, target.path)
    assert head.startswith(b"POST /predict HTTP/1.1\r\nHost: host:81\r\n")
    assert b"\r\nX-Key: 5\r\n" in head
    assert b"Content-Type: multipart/form-data; boundary=" in head
    assert head.endswith(b"Content-Length: %d" % len(body))
    assert b'name="image"; filename="image"\r\nContent-Type: image/png\r\n\r\nPIXELS\r\n' in body


def test_without_a_field_the_bytes_alone_are_sent():
    """An empty field name posts the picture as it is, with its own type."""
    request = make_target("localhost", [PICTURE], field="").requests[0]

    assert request.endswith(b"Content-Type: image/png\r\nContent-Length: 6\r\n\r\nPIXELS")


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("http://h", None, "/predict"),
        ("http://h/?top_k=1", None, "/predict?top_k=1"),
        ("http://h/inference", None, "/inference"),
        ("http://h/a?b=c", None, "/a?b=c"),
        ("http://h/a", "b", "/b"),
        ("http://h", "/predict?model=vgg19", "/predict?model=vgg19"),
    ],
)
def test_path_is_that_of_the_option_or_the_url(url, path, expected):
    """The option comes first, then the URL, then /predict."""
    assert expected == make_target(url, [PICTURE], path=path).path


def test_pictures_are_sent_in_an_order_of_the_seed():
    """The same seed, the same order."""
    pictures = [Picture(str(n), b"%d" % n) for n in range(9)]
    once, again, other = (
        make_target("http://h", pictures, seed=seed).requests for seed in (1, 1, 2)
    )

    assert once == again
    assert once != other
    assert set(once) == set(other)


@pytest.mark.parametrize(
    ("url", "headers", "word"),
    [
        ("https://h", [], "speaks only http"),
        ("http://", [], "has no host"),
        ("http://h:x", [], "not a URL"),
        ("http://[h", [], "not a URL"),
        ("http://me:secret@h", [], "Use --header"),
        ("http://h", ["No colon"], "cannot be a line"),
        ("http://h", ["A: b\r\nC: d"], "cannot be a line"),
        ("http://h/a b\u00e9", [], "cannot be a line"),
    ],
)
def test_impossible_requests_are_refused(url, headers, word):
    """An address or a header that cannot be used is refused in a sentence."""
    with pytest.raises(SetupError, match=word):
        make_target(url, [PICTURE], headers=headers)


def test_pictures_are_the_same_every_time_and_all_different():
    """Each size gives its number of JPEGs, no two with the same bytes, and the same in the next run."""
    pictures = make_pictures("60x40:2,30x50")

    assert ["60x40", "60x40", "30x50"] == [one.name for one in pictures]
    assert [(60, 40), (60, 40), (30, 50)] == [
        Image.open(io.BytesIO(one.data)).size for one in pictures
    ]
    assert 3 == len({one.data for one in pictures})
    assert pictures == make_pictures("60x40:2,30x50")


def test_pictures_are_as_large_as_photos():
    """A picture has 0.1 to 0.4 bytes per pixel, as photos of a camera do."""
    data = make_pictures("500x375")[0].data

    assert 0.1 < len(data) / (500 * 375) < 0.4


@pytest.mark.parametrize("sizes", ["500", "500x", "0x5", "-1x5", "5x5:x", "99999x99999", "5x5:101"])
def test_impossible_sizes_are_refused(sizes):
    """An impossible size is refused with the name of its option."""
    with pytest.raises(SetupError, match="--sizes"):
        make_pictures(sizes)


def test_files_keep_their_bytes_and_type(tmp_path):
    """A file of the user is sent as it is."""
    (tmp_path / "a.png").write_bytes(png())
    picture = read_pictures([tmp_path / "a.png"])[0]

    assert ("a.png", png(), "image/png") == (picture.name, picture.data, picture.mime)


def test_missing_files_are_refused(tmp_path):
    """An empty folder or a missing file is refused."""
    with pytest.raises(SetupError, match="no JPEG"):
        read_pictures([])
    with pytest.raises(SetupError, match="--images"):
        read_pictures([tmp_path / "gone.png"])
