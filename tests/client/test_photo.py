"""What a user may give as an image, as the bytes that are sent."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from app.client.photo import open_photo

DATA = b"\xff\xd8\xff\xe0 and so on"


def sent(image):
    """Return what would be sent, twice: a photo can be sent again."""
    photo = open_photo(image)
    try:
        photo.begin()
        first = photo.file.read()
        photo.begin()
        assert first == photo.file.read()
        assert len(first) == photo.size
    finally:
        photo.close()
    return first


def decoded(image):
    return np.asarray(Image.open(io.BytesIO(sent(image))))


@pytest.fixture
def pixels():
    """An array uint8 [5, 7, 3] of noise."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_files_are_sent_as_they_are(tmp_path):
    """By path, as bytes or open; an open file from where it is, and it stays open."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        file.read(4)

        assert DATA[4:] == sent(file)
        assert not file.closed
    for image in (path, str(path), DATA, bytearray(DATA), memoryview(DATA), io.BytesIO(DATA)):
        assert DATA == sent(image)
    assert DATA == sent(np.frombuffer(DATA, np.uint8))  # as of cv2.imencode


def test_a_pipe_is_read_once_and_kept():
    """What cannot be read again is in memory."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as end:
        end.write(DATA)
    with os.fdopen(reader, "rb") as file:
        assert DATA == sent(file)


def test_arrays_become_pictures(pixels):
    """RGB, RGBA, grey with and without an axis for it, and views that are not contiguous."""
    assert (pixels == decoded(pixels)).all()
    assert (pixels[::-1, ::2] == decoded(pixels[::-1, ::2])).all()
    assert (pixels[..., 0] == decoded(pixels[..., 0])).all()
    assert (pixels[..., 0] == decoded(pixels[..., :1])).all()
    four = np.dstack([pixels, pixels[..., 0]])
    assert (four == decoded(four)).all()


class Tensor:
    """What torch's tensors are: they become an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self):
        return self.array


def test_what_becomes_an_array_is_one(pixels):
    """Tensors of another library."""
    assert (pixels == decoded(Tensor(pixels))).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "YCbCr", "LA"])
def test_images_of_pillow_keep_their_pixels(pixels, mode):
    """All modes are sent, those that a PNG does not have as RGB."""
    image = Image.fromarray(pixels).convert(mode)
    shown = Image.open(io.BytesIO(sent(image)))

    assert (np.asarray(image.convert("RGB")) == np.asarray(shown.convert("RGB"))).all()


def test_an_image_of_pillow_keeps_its_upper_side(pixels):
    """The EXIF orientation of the file that it was read from is sent, too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)

    assert 6 == Image.open(io.BytesIO(sent(Image.open(file)))).getexif()[0x0112]


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (np.zeros((2, 2, 3)), ValueError, "float64"),
        (np.zeros((2, 2, 3), bool), ValueError, "bool"),
        (np.zeros((4, 2, 2, 3), np.uint8), ValueError, "classify_many"),
        (np.zeros((3, 2, 2), np.uint8), ValueError, r"\[3, 2, 2\]"),
        (np.zeros((0, 2, 3), np.uint8), ValueError, r"\[0, 2, 3\]"),
        ("https://example.org/cat.jpg", ValueError, "no URL"),
        (io.StringIO("text"), TypeError, "'rb'"),
        (5, TypeError, "int"),
        (None, TypeError, "NoneType"),
        ("/nowhere/cat.jpg", FileNotFoundError, "cat"),
        ("/", IsADirectoryError, "directory"),
    ],
)
def test_what_is_no_image_is_told(image, error, said):
    """The sentence says what was expected."""
    with pytest.raises(error, match=said):
        open_photo(image)


def test_threads_may_send_the_same_bytes():
    """Each photo has a place of its own in them."""
    photos = [open_photo(DATA) for _ in range(4)]
    threads = [threading.Thread(target=photo.file.read) for photo in photos[1:]]
    for thread in threads:
        thread.start()
        thread.join()

    assert DATA == photos[0].file.read()
