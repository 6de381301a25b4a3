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


@pytest.mark.parametrize("size", [(8, 8), (3000, 9), (9, 500)])
def test_odd_sizes_are_changed_too(size):
    """Few pixels, a line."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")

    assert changed(PREPARE, file.getvalue(), OF_64).shape[0] == len(changes())
