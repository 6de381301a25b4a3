import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.errors import CorruptImageError
from app.images.cut_short import incomplete
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Preprocess
from tests.conftest import PHOTOS

EVALUATION = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def encode(image, file_format="PNG", **options):
    """The file that Pillow makes of an image."""
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def refusal(data):
    """What is said about a file that ends early."""
    with pytest.raises(CorruptImageError) as caught:
        prepare(data, EVALUATION, ImageLimits())
    return str(caught.value)


def photo(size=(1200, 1600)):
    """A photo with light in every row."""
    with Image.open(PHOTOS / "coffee.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray(np.maximum(pixels, 8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_jpeg_says_how_much_is_missing(mode, tenths):
    """The share of the rows is that of the bytes, within a tenth, for a photo of even detail."""
    noise = np.random.default_rng(0).integers(0, 256, (800, 600, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise).convert(mode), "JPEG")

    said = refusal(data[: len(data) * tenths // 10])

    percent = int(said.removeprefix("The JPEG file is incomplete: about ").split()[0])
    assert f"The JPEG file is incomplete: about {percent} % of the picture is missing." == said
    assert abs(percent - 100 + 10 * tenths) <= 3


def test_a_large_jpeg_says_it_too():
    """At a smaller scale, of which libjpeg makes fewer rows, the share is the same."""
    data = encode(photo((2100, 3000)), "JPEG")

    said = refusal(data[: len(data) // 2])

    assert re.search("about [45][0-9] % of the picture is missing", said)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_png_says_exactly_how_much_is_missing(mode):
    """The rows that can be inflated are counted, also where the picture is black or transparent."""
    data = encode(Image.new("RGB", (64, 400)).convert(mode), compress_level=0)
    pixels = data.index(b"IDAT") + 4

    said = refusal(data[: pixels + (len(data) - 12 - pixels) // 4])

    assert said in {
        f"The PNG file is incomplete: about {percent} % of the picture is missing."
        for percent in (75, 76)
    }


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
    ],
)
def test_where_it_is_not_known_nothing_is_said_about_it(file_format, options):
    """A progressive JPEG has all rows from early on; others are all there or nothing."""
    data = encode(photo(), file_format, **options)

    said = refusal(data[: len(data) // 2])

    assert said.endswith("file is incomplete: its end is missing.")


def test_a_file_that_ends_before_its_pixels():
    """A header alone says nothing of the picture, or that all of it is missing."""
    data = encode(photo(), "JPEG")
    assert incomplete("JPEG") == refusal(data[: data.index(b"\xff\xda")])
    data = encode(photo(), "PNG")
    assert incomplete("PNG", 1.0) == refusal(data[: data.index(b"IDAT") + 6])


@pytest.mark.parametrize(
    ("share", "said"), [(0.004, "1 %"), (0.5, "50 %"), (0.996, "100 %"), (1.0, "100 %")]
)
def test_the_share_in_words(share, said):
    """A whole number of percent, at least 1."""
    assert f"The X file is incomplete: about {said} of the picture is missing." == incomplete(
        "X", share
    )
