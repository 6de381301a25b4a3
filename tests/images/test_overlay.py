"""An overlay shows the photo, where the heat is, and the box, whoever looks at it."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from app.images.header_limits import ImageLimits
from app.images.overlay import SIDE, Marks, colours, draw_overlay, overlay, whole_photo
from app.images.photo_box import PhotoBox, view_of
from app.images.prepare import prepare
from app.records import Preprocess
from tests.conftest import PHOTOS
from tests.images.turned import turned

VGG = Preprocess(256, 224, "RGB", (0.0,) * 3, (1.0,) * 3)
GREY = np.full((100, 200, 3), 120, np.uint8)
VIEW = PhotoBox(50, 0, 150, 100)


def lightness(rgb):
    """CIE L* of sRGB colours, 0 to 255."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(y) - 16


def seen_by_dichromats(rgb, kind):
    """Return what protanopes and deuteranopes see (Vienot, Brettel and Mollon, 1999)."""
    linear = (np.asarray(rgb) / 255) ** 2.2
    share = {"protanope": 0.11238, "deuteranope": 0.29275}[kind]
    red_green = linear[..., 0] * share + linear[..., 1] * (1 - share)
    shift = {"protanope": 0.00401, "deuteranope": -0.02234}[kind]
    blue = shift * (linear[..., 0] - linear[..., 1]) + linear[..., 2]
    seen = np.stack([red_green, red_green, blue], axis=-1)
    return 255 * np.clip(seen, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("kind", ["everybody", "protanope", "deuteranope"])
def test_more_heat_is_lighter_for_everybody(kind):
    """Lightness rises at every step, by more than 50 in all, also for those who see two colours."""
    ramp = colours(np.linspace(0, 1, 64, dtype=np.float32))
    if kind != "everybody":
        ramp = seen_by_dichromats(ramp, kind)
    steps = np.diff(lightness(ramp))

    assert (steps > 0).all()
    assert 50 < steps.sum()
    assert steps.max() < 4 * np.median(steps), "a step that looks like an edge"


def test_the_photo_is_as_it_was_where_nothing_is_marked():
    """Within the view, without heat, no pixel changes; outside it is darker."""
    drawn = overlay(GREY, (200, 100), Marks(VIEW, np.zeros((14, 14), np.float32), None))

    assert (drawn[:, 50:150] == 120).all()
    assert (drawn[:, :50] == 54).all()
    assert (drawn[:, 150:] == 54).all()


def test_heat_is_where_its_cell_is():
    """A hot cell colours its place in the view, and the other side of the view not at all."""
    heat = np.zeros((10, 10), np.float32)
    heat[2, 7] = 1  # 70 to 80 of 100 pixels to the right, 20 to 30 down

    drawn = overlay(GREY, (200, 100), Marks(VIEW, heat, None)).astype(int)

    changed = np.abs(drawn - 120).max(axis=2)[:, 50:150]
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert (20 <= row < 30, 70 <= column < 80) == (True, True)
    assert 0 == changed[:, :50].max() == changed[50:].max()


@pytest.mark.parametrize("scale", [1, 3])
def test_the_box_is_a_frame_at_its_pixels(scale):
    """Black and white lines within the box, at any scale of the photo; its middle is free."""
    photo = np.full((100 * scale, 200 * scale, 3), 120, np.uint8)

    drawn = overlay(photo, (200, 100), Marks(VIEW, None, PhotoBox(60, 20, 120, 80)))

    changed = (drawn != 120).any(axis=2)[:, 50 * scale : 150 * scale]
    rows, columns = np.nonzero(changed)
    assert (20 * scale, 80 * scale - 1) == (rows.min(), rows.max())
    assert (10 * scale, 70 * scale - 1) == (columns.min(), columns.max())
    assert {0, 255} == set(drawn[50 * scale, 60 * scale : 75 * scale].ravel().tolist()) - {120}
    assert not changed[35 * scale : 65 * scale, 25 * scale : 55 * scale].any()


@pytest.mark.parametrize("box", [PhotoBox(60, 20, 61, 21), PhotoBox(0, 0, 200, 100)])
def test_boxes_of_any_size_can_be_drawn(box):
    """One pixel, or the whole photo."""
    assert (100, 200, 3) == overlay(GREY, (200, 100), Marks(VIEW, None, box)).shape


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize(
    "size", [(400, 300), (300, 400), (500, 500), (1200, 90), (8, 11), (8, 900)]
)
def test_the_whole_photo_is_there(size, mode, exact):
    """Its corners too, whatever its shape; longer sides become SIDE pixels."""
    image = Image.new("RGB", size, "white").convert(mode)
    data = io.BytesIO()
    image.save(data, "PNG")
    prepared = partial(prepare, limits=ImageLimits(), exact=exact)

    whole = whole_photo(prepared, data.getvalue(), size)

    height, width, _ = whole.shape
    assert abs(SIDE - max(width, height)) <= 16
    assert abs(width / height - size[0] / size[1]) / (size[0] / size[1]) < 0.1
    assert {255} == set(whole.ravel().tolist())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright(orientation):
    """As EXIF turns it: red is above, blue below."""
    upright = Image.new("RGB", (120, 80), "blue")
    upright.paste("red", (0, 0, 120, 40))
    data = turned(upright, orientation)

    whole = whole_photo(partial(prepare, limits=ImageLimits()), data, (120, 80))

    assert abs(533 - whole.shape[0]) <= 1
    assert [255, 0, 0] == whole[5, 400].tolist()
    assert [0, 0, 255] == whole[-5, 400].tolist()


def test_an_upload_becomes_a_png():
    """From the bytes of a photo to those of a picture, by the decoder that the model uses."""
    data = (PHOTOS / "chelsea.jpg").read_bytes()
    decoder = partial(prepare, limits=ImageLimits())
    _, info = decoder(data, VGG)
    size = info.width, info.height
    marks = Marks(view_of(size, VGG), np.ones((14, 14), np.float32), PhotoBox(100, 50, 200, 150))

    image = Image.open(io.BytesIO(draw_overlay(decoder, data, size, marks)))

    assert ("PNG", "RGB") == (image.format, image.mode)
    assert SIDE - 1 <= image.width <= SIDE
    assert abs(image.width * 300 / 451 - image.height) <= 1


def test_marks_are_at_their_place_in_a_photo_of_which_only_the_middle_is_drawn():
    """A photo of 1 : 2000 is drawn at an eighth of its size, and its ends are left out."""
    size = 16_000, 8
    data = io.BytesIO()
    Image.new("RGB", size, (120, 120, 120)).save(data, "PNG")
    view = PhotoBox(8800, 0, 9600, 8)
    marks = Marks(view, None, view)

    decoder = partial(prepare, limits=ImageLimits())
    drawn = np.asarray(Image.open(io.BytesIO(draw_overlay(decoder, data.getvalue(), size, marks))))

    columns = np.flatnonzero((drawn != 54).any(axis=(0, 2)))  # beside the view it is darker
    assert 800 == drawn.shape[1]
    assert (500, 599) == (columns.min(), columns.max())
