import io
import platform
import sys

import numpy as np
import pytest
from PIL import Image

from app.images.resize import BILINEAR, HAS_SIMD, resize

SIZES = [(500, 375), (375, 500), (640, 480), (100, 75), (256, 256), (2000, 1500), (257, 400)]
WAYS = pytest.mark.parametrize(
    "with_simd",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(not HAS_SIMD, reason="no cykooz-resizer here")),
    ],
)


def noise(size, mode):
    """An image in which any two neighbours differ."""
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    pixels = np.random.default_rng(size[0]).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels)


def in_turn(image, size):
    """Each value as Pillow has it: across, rounded to 8 bits, then down."""
    return np.asarray(
        image.resize((size[0], image.height), BILINEAR).resize(size, BILINEAR), np.int16
    )


@WAYS
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", SIZES)
def test_a_whole_image_is_pillow_s_but_for_one_value_in_fifty(size, mode, with_simd):
    """No value is more than one level off and nearly all are the same, in either orientation."""
    image = noise(size, mode)

    result = np.asarray(resize(image, (224, 200), (0, 0, *size), with_simd=with_simd))

    apart = np.abs(in_turn(image, (224, 200)) - result)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.02


@WAYS
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_part_is_cut_from_the_resized_whole(mode, with_simd):
    """A part is the same as the cut from the whole: its edges are made of what lies beyond them."""
    image = noise((600, 900), mode)
    whole = in_turn(image, (200, 300))

    result = np.asarray(resize(image, (100, 150), (150, 225, 450, 675), with_simd=with_simd))

    apart = np.abs(whole[75:225, 50:150] - result)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.02


@WAYS
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(8, 5000), (5000, 8), (8, 8), (1, 1)])
def test_any_shape_is_resized(size, mode, with_simd):
    """Thin, flat and tiny images are enlarged and reduced as Pillow does it."""
    image = noise(size, mode)

    result = np.asarray(resize(image, (64, 64), (0, 0, *size), with_simd=with_simd))

    assert np.abs(in_turn(image, (64, 64)) - result).max() <= 1


@WAYS
def test_nothing_is_done_to_what_has_the_size(with_simd):
    """An image of the size wanted comes out as it is."""
    image = noise((64, 48), "RGB")

    result = resize(image, (64, 48), (0, 0, 64, 48), with_simd=with_simd)

    np.testing.assert_array_equal(np.asarray(image), np.asarray(result))


@WAYS
def test_other_modes_are_left_to_pillow(with_simd):
    """CMYK comes out as Pillow makes it, each value."""
    image = noise((90, 60), "RGB").convert("CMYK")

    result = resize(image, (30, 20), (0, 0, 90, 60), with_simd=with_simd)

    np.testing.assert_array_equal(in_turn(image, (30, 20)), np.asarray(result))


@WAYS
def test_a_file_is_resized_as_its_copy_is(with_simd):
    """An image that is still a file is read first."""
    image, file = noise((90, 60), "RGB"), io.BytesIO()
    image.save(file, "PNG")

    result = resize(Image.open(file), (30, 20), (0, 0, 90, 60), with_simd=with_simd)

    np.testing.assert_array_equal(
        np.asarray(resize(image, (30, 20), (0, 0, 90, 60), with_simd=with_simd)), np.asarray(result)
    )


def test_simd_is_used_on_the_machines_it_is_made_for():
    """Where the project's requirements install cykooz-resizer, it is what resizes."""
    asked = platform.machine() in {"x86_64", "AMD64"} or sys.platform == "darwin"

    assert HAS_SIMD == asked, "is Pillow of a new major release? See app/images/resize.py"
