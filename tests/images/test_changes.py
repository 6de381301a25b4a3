"""Photos are changed as they are on their way, and what is not changed is what the model sees anyway."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from app.images.changes import changed, changes
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Preprocess
from tests.conftest import PHOTOS

OF_224 = Preprocess(256, 224, "RGB", (0.0,) * 3, (1.0,) * 3)
OF_299 = Preprocess(342, 299, "RGB", (0.0,) * 3, (1.0,) * 3)
OF_64 = Preprocess(64, 64, "RGB", (0.0,) * 3, (1.0,) * 3)
PREPARE = partial(prepare, limits=ImageLimits(), exact=True)


def all_of(data, preprocess):
    """Return the crop after each change, by its name, and the crop as it is."""
    batch = changed(PREPARE, data, preprocess)
    assert (len(changes()), preprocess.crop, preprocess.crop, 3) == batch.shape
    assert np.uint8 == batch.dtype
    return dict(zip(changes(), batch.astype(int), strict=True)), PREPARE(data, preprocess)[
        0
    ].astype(int)


@pytest.mark.parametrize("preprocess", [OF_224, OF_64, OF_299])
def test_each_change_is_what_it_says(preprocess):
    """Of a photo, for a crop with a margin around it and for one without."""
    found, crop = all_of((PHOTOS / "coffee.jpg").read_bytes(), preprocess)
    far = {name: np.abs(one - crop).mean() for name, one in found.items()}

    assert (np.rot90(crop) == found["turned"]).all()
    assert np.abs(np.minimum(1.3 * crop, 255) - found["brighter"]).max() < 0.51
    assert np.abs(0.7 * crop - found["darker"]).max() < 0.51
    assert (found["grey"][..., 0] == found["grey"][..., 2]).all()
    assert np.abs(found["grey"][..., 0] - crop @ [0.299, 0.587, 0.114]).max() <= 1
    assert 0 < far["jpeg_90"] < far["jpeg_50"] < far["jpeg_20"] < 20
    assert 0 < far["blur"] < 20
    assert found["small"].std() < crop.std()


def test_the_crop_is_shifted():
    """By 8 of 224 pixels to the right and down, where there is more of the photo."""
    found, crop = all_of((PHOTOS / "coffee.jpg").read_bytes(), OF_224)

    assert (crop[8:, 8:] == found["shift"][:-8, :-8]).all()
    assert found["shift"][-1].std() > 1


def test_beyond_the_photo_its_edge_is_repeated():
    """A small photo has no black frame after any change."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 200, 200)).save(file, "PNG")
    found, _ = all_of(file.getvalue(), OF_64)

    assert {name for name, one in found.items() if one.min() < 130} == set()
    assert [] == [
        name for name in ("shift", "blur", "small") if np.abs(found[name] - 200).max() > 1
    ]


EXACT = Preprocess(240, 224, "RGB", (0.0,) * 3, (1.0,) * 3)
"""Photos whose shorter side has 240 pixels are not resized: the crop is known, with 8 pixels around it."""


def as_png(pixels, exif=None):
    file = io.BytesIO()
    options = {} if exif is None else {"exif": exif}
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def triangles(many, wanted):
    """Return how much of each of so many pixels is in each of those wanted.

    A bilinear filter, as wide as a pixel of the smaller.
    """
    scale = many / wanted
    places = np.abs((np.arange(many) + 0.5) - (np.arange(wanted)[:, None] + 0.5) * scale)
    weights = np.maximum(0, 1 - places / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def resampled(pixels, wanted):
    rows = triangles(len(pixels), wanted)
    columns = np.rint(np.tensordot(rows, pixels, (1, 1)))  # [wanted, many, 3]: x first, as Pillow
    return np.rint(np.tensordot(rows, columns, (1, 1)))


def gaussian(pixels, deviation):
    reach = np.arange(-12, 13)
    kernel = np.exp(-(reach**2) / (2 * deviation**2))
    kernel /= kernel.sum()
    wide = np.pad(pixels, ((12, 12), (12, 12), (0, 0)), "edge")
    rows = sum(k * wide[at : at + len(pixels)] for at, k in enumerate(kernel))
    return sum(k * rows[:, at : at + len(pixels)] for at, k in enumerate(kernel))


def recompressed(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(int)


def test_each_change_is_that_of_another_implementation():
    """Of a whole photo by numpy, or by Pillow's JPEG, and cut afterwards: to roundings, or near for the blur."""
    photo = np.asarray(Image.open(PHOTOS / "coffee.jpg").convert("RGB").resize((240, 240)))
    found, crop = all_of(as_png(photo), EXACT)
    cut = slice(8, 232)
    expected = {
        "jpeg_90": recompressed(photo, 90),
        "jpeg_50": recompressed(photo, 50),
        "jpeg_20": recompressed(photo, 20),
        "small": resampled(resampled(photo, 120), 240),
        "grey": np.rint(photo @ [0.299, 0.587, 0.114])[..., None].repeat(3, axis=2),
        "brighter": np.clip(np.rint(photo * 1.3), 0, 255),
        "darker": np.rint(photo * 0.7),
        "shift": np.roll(photo, (-8, -8), (0, 1)),
    }
    far = {name: int(np.abs(found[name] - one[cut, cut]).max()) for name, one in expected.items()}
    blur = np.abs(found["blur"] - gaussian(photo, 2)[cut, cut])

    assert (photo[cut, cut] == crop).all()
    assert far.pop("small") <= 2  # four times rounded
    assert {name for name, most in far.items() if most > 1} == set()
    assert [0] * 4 == [far[name] for name in ("jpeg_90", "jpeg_50", "jpeg_20", "shift")]
    assert {*expected, "blur", "turned"} == {*found}
    assert blur.mean() < 0.5
    assert blur.mean() < np.abs(found["blur"] - gaussian(photo, 1.5)[cut, cut]).mean()
    assert blur.mean() < np.abs(found["blur"] - gaussian(photo, 2.5)[cut, cut]).mean()


def test_turned_is_what_a_lost_exif_orientation_does():
    """Of a phone held upright (orientation 6): its file without the tag, through the same preprocessing."""
    photo = np.asarray(Image.open(PHOTOS / "coffee.jpg").convert("RGB").resize((300, 240)))
    sensor, exif = np.rot90(photo), Image.Exif()
    exif[0x0112] = 6
    upright, _ = PREPARE(as_png(sensor, exif), EXACT)
    lost, _ = PREPARE(as_png(sensor), EXACT)
    found, crop = all_of(as_png(photo), EXACT)

    assert (upright == crop).all()
    assert (lost == found["turned"]).all()


@pytest.mark.parametrize("size", [(8, 8), (3000, 9), (9, 500)])
def test_odd_sizes_are_changed_too(size):
    """Few pixels, a line."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")

    assert changed(PREPARE, file.getvalue(), OF_64).shape[0] == len(changes())
