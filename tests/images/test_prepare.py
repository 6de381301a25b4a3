import importlib
import resource
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from app.errors import (
    CorruptImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    RequestError,
    UnsupportedFormatError,
)
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import Preprocess
from tests.conftest import PHOTOS, SHARED_DATA

HOSTILE = SHARED_DATA / "hostile"
LIMITS = ImageLimits()
SAVED_LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}


def square(resize, crop=None):
    """A preprocessing that resizes to `resize` and crops to `crop`, by default all of it."""
    return Preprocess(resize, crop or resize, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


EVALUATION = square(256, 224)


def noise(width, height, channels=3, seed=0):
    """uint8 [height, width, channels], or [height, width] for no channels; always the same."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(pixels, file_format="PNG", **options):
    """The file that Pillow makes of an image or an array."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decode(data, side=16):
    """The pixels of a square picture, neither resized nor cropped, so both ways give the same."""
    pixels, _ = prepare(data, square(side), LIMITS)
    np.testing.assert_array_equal(prepare(data, square(side), LIMITS, exact=True)[0], pixels)
    return pixels


def chunk(kind, content):
    """One chunk of a PNG."""
    return (
        struct.pack(">I4s", len(content), kind)
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, depth, colour, rows, *before):
    """A PNG by hand: `rows` are its bytes without filter bytes, `before` chunks before IDAT."""
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 1)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(kind, content) for kind, content in before),
            chunk(b"IDAT", data),
            chunk(b"IEND", b""),
        )
    )


def exif(orientation):
    """An EXIF block with an orientation and nothing else."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def swapped_profile():
    """A valid ICC profile, sRGB's with the red and the blue primary in each other's place."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")


def over_white(colour, alpha):
    """What shows of a colour, by the definition of compositing, in exact arithmetic."""
    colour, alpha = colour.astype(np.int64), alpha.astype(np.int64)
    return (2 * (colour * alpha + 255 * (255 - alpha)) + 255) // 510


def bilinear(values, resized, first, count):
    """Rows `first` .. `first + count` of the first axis resized: a triangle filter, in floats.

    Where the image shrinks, the triangle widens by as much: this is the antialiasing.
    """
    scale = values.shape[0] / resized
    reach = max(scale, 1.0)
    rows = []
    for row in range(first, first + count):
        centre = (row + 0.5) * scale
        at = np.arange(max(0, int(centre - reach)), min(values.shape[0], int(centre + reach) + 1))
        weights = np.clip(1 - np.abs((at + 0.5 - centre) / reach), 0, None)
        rows.append(np.tensordot(weights / weights.sum(), values[at].astype(np.float64), 1))
    return np.stack(rows)


SMALL = {
    "jpeg": encode(noise(48, 32), "JPEG", quality=90),
    "progressive": encode(noise(48, 32), "JPEG", quality=90, progressive=True),
    "png": encode(noise(48, 32)),
    "webp": encode(noise(48, 32), "WEBP", quality=90),
    "gif": encode(noise(48, 32, channels=0), "GIF"),
    "bmp": encode(noise(48, 32), "BMP"),
}


# Resizing and cropping


@pytest.mark.parametrize(
    ("size", "resized", "corner"),
    [
        ((500, 375), (341, 256), (58, 16)),  # 341.3 is cut to 341, 58.5 goes to 58, which is even
        ((300, 451), (256, 384), (16, 80)),  # 384.9 is cut to 384
        ((343, 256), (343, 256), (60, 16)),  # 59.5 goes to 60, which is even
        ((256, 256), (256, 256), (16, 16)),
        ((223, 255), (256, 292), (16, 34)),
        ((255, 223), (292, 256), (34, 16)),
        ((8, 9), (256, 288), (16, 32)),
        ((1000, 257), (996, 256), (386, 16)),
    ],
)
def test_pixels_are_those_of_the_documented_arithmetic(size, resized, corner):
    """Exact: sizes and corners are torchvision's, and each pixel: Pillow's resize, then a slice."""
    pixels = noise(*size)
    whole = np.asarray(Image.fromarray(pixels).resize(resized, Image.Resampling.BILINEAR))
    left, top = corner

    actual, info = prepare(encode(pixels), EVALUATION, LIMITS, exact=True)

    np.testing.assert_array_equal(whole[top : top + 224, left : left + 224], actual)
    assert size == (info.width, info.height)


@pytest.mark.parametrize("size", [(500, 375), (61, 90), (300, 299)])
def test_resizing_is_a_triangle_filter(size):
    """The resize is bilinear with antialiasing by a second, independent account, within 1."""
    pixels = noise(*size)
    ratio = 256 / min(size)
    width, height = (int(side * ratio) if side > min(size) else 256 for side in size)
    across = bilinear(pixels.transpose(1, 0, 2), width, round((width - 224) / 2), 224)
    expected = bilinear(across.transpose(1, 0, 2), height, round((height - 224) / 2), 224)

    actual, _ = prepare(encode(pixels), EVALUATION, LIMITS, exact=True)

    assert np.abs(expected - actual).max() <= 1


@pytest.mark.torch
def test_pixels_are_those_of_torchvision():
    """Exact: over many sizes no pixel differs from torchvision's evaluation transform."""
    try:
        reference = importlib.import_module("torchvision.transforms.functional")
    except (ImportError, RuntimeError) as exc:
        pytest.skip(f"torchvision cannot be imported: {exc}")
    random = np.random.default_rng(20)
    for number in range(60):
        resize = int(random.choice([256, 232, 64, 227]))
        crop = int(random.integers(resize // 2, resize + 1))
        width, height = (int(side) for side in random.integers(8, 700, 2))
        image = Image.fromarray(noise(width, height, seed=number))
        expected = reference.center_crop(reference.resize(image, [resize]), [crop])

        actual, _ = prepare(encode(image), square(resize, crop), LIMITS, exact=True)

        np.testing.assert_array_equal(np.asarray(expected), actual)


@pytest.mark.parametrize(("crop", "corner"), [(16, 0), (15, 0), (14, 1), (13, 2), (11, 2), (9, 4)])
def test_half_pixels_are_rounded_to_even(crop, corner):
    """A margin of 0.5, 1.5, 2.5 or 3.5 pixels becomes 0, 2, 2 or 4."""
    across, down = np.meshgrid(np.arange(16), np.arange(16))
    pixels = np.stack([across, down, across], axis=-1).astype(np.uint8)

    actual, _ = prepare(encode(pixels), square(16, crop), LIMITS)

    assert [corner, corner] == actual[0, 0, :2].tolist()
    assert (crop, crop, 3) == actual.shape


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [(8, 16384), (16384, 8)])
def test_very_long_images_cost_little(size, exact):
    """Of 134 million resized pixels only those that are kept are computed, within 1."""
    pixels = noise(*size)
    data = encode(pixels)
    long = pixels if size[0] < size[1] else pixels.transpose(1, 0, 2)
    down = bilinear(long, 524_288, (524_288 - 224) // 2, 224)
    expected = bilinear(down.transpose(1, 0, 2), 256, 16, 224).transpose(1, 0, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    actual, _ = prepare(data, EVALUATION, LIMITS, exact=exact)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB on Linux
    assert grown < 64 * 1024
    actual = actual if size[0] < size[1] else actual.transpose(1, 0, 2)
    assert np.abs(expected - actual).max() <= 1


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (224, 700), (40, 5120), (41, 5300), (5003, 39), (64, 9001)]
)
def test_the_short_way_agrees_with_the_exact_one(size):
    """Resizing only the crop gives the same as resizing the whole, within 1."""
    data = encode(noise(*size))
    exact, _ = prepare(data, EVALUATION, LIMITS, exact=True)
    short, _ = prepare(data, EVALUATION, LIMITS)

    assert np.abs(exact.astype(int) - short).max() <= 1


@pytest.mark.parametrize("crop", [63, 64])
@pytest.mark.parametrize("size", [(63, 64), (64, 63), (64, 64), (64, 65), (65, 64), (65, 66)])
def test_a_crop_may_be_one_pixel_short(size, crop):
    """Nothing shifts if an image is one pixel larger or smaller than the crop."""
    pixels = noise(*size)
    ratio = 64 / min(size)
    resized = [64 if side == min(size) else int(side * ratio) for side in size]
    left, top = (round((side - crop) / 2) for side in resized)
    whole = np.asarray(Image.fromarray(pixels).resize(resized, Image.Resampling.BILINEAR))
    expected = whole[top : top + crop, left : left + crop]

    exact, _ = prepare(encode(pixels), square(64, crop), LIMITS, exact=True)
    short, _ = prepare(encode(pixels), square(64, crop), LIMITS)

    np.testing.assert_array_equal(expected, exact)
    assert np.abs(exact.astype(int) - short).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    st.integers(1, 8),
    st.integers(8, 400),
    st.integers(8, 400),
)
def test_the_short_way_takes_any_mode_and_turn(mode, orientation, width, height):
    """In any mode and any of the eight orientations both ways agree: on noise, all but 0.5 % within 1."""
    image = Image.fromarray(noise(width, height, channels=0)).convert(mode)
    data = encode(image, exif=exif(orientation))
    exact, info = prepare(data, square(60, 50), LIMITS, exact=True)
    short, same = prepare(data, square(60, 50), LIMITS)

    apart = np.abs(exact.astype(int) - short)
    assert apart.max() <= 2
    assert (apart == 2).mean() <= 0.005
    assert info == same


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_large_jpeg_is_decoded_at_a_smaller_scale(mode, orientation, options):
    """The answer has its true size; the picture is the exact one, neither shifted nor turned.

    1 of 255 in the mean; one pixel of shift would be about 3 in this picture.
    """
    with Image.open(PHOTOS / "coffee.jpg") as photo:
        large = photo.resize((1203, 897), Image.Resampling.BICUBIC).convert(mode)
    data = encode(large, "JPEG", quality=92, exif=exif(orientation), **options)
    exact, info = prepare(data, square(96, 80), LIMITS, exact=True)
    short, same = prepare(data, square(96, 80), LIMITS)

    assert np.abs(exact.astype(int) - short).mean() <= 1
    assert info == same
    assert (897, 1203) == (info.width, info.height)[:: 1 if orientation > 4 else -1]


def test_a_large_jpeg_costs_less_memory():
    """Only a quarter of 12 million pixels is ever in memory, 12 MB; the exact way takes 48 MB."""
    data = encode(Image.new("RGB", (4000, 3000), "teal"), "JPEG")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    prepare(data, EVALUATION, LIMITS)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB on Linux
    assert grown < 24 * 1024


def test_the_result_is_what_a_batch_needs():
    """uint8 [crop, crop, 3], C-contiguous; the channel order stays RGB for any model."""
    caffe = Preprocess(256, 224, "BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
    red = Image.new("RGB", (300, 300), (250, 20, 3))

    pixels, info = prepare(encode(red), caffe, LIMITS)

    assert ((224, 224, 3), "uint8") == (pixels.shape, pixels.dtype.name)
    assert pixels.flags.c_contiguous
    assert [250, 20, 3] == pixels[100, 100].tolist()
    assert "png" == info.format


# Modes


def test_grey_fills_all_three_channels():
    """Grey of 8 bits keeps its value in each channel."""
    pixels = noise(16, 16, channels=0)

    np.testing.assert_array_equal(np.stack([pixels] * 3, axis=-1), decode(encode(pixels)))


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_one_bit_is_black_and_white(file_format):
    """One bit becomes 0 and 255."""
    bits = noise(16, 16, channels=0) > 127
    expected = np.stack([np.where(bits, 255, 0)] * 3, axis=-1)

    np.testing.assert_array_equal(expected, decode(encode(Image.fromarray(bits), file_format)))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_transparency_shows_white(file_format):
    """RGBA is composited over white; a colour that hides under alpha 0 stays hidden."""
    pixels = noise(16, 16, channels=4)
    pixels[0, :, 3] = 0
    expected = over_white(pixels[..., :3], pixels[..., 3:])

    actual = decode(encode(pixels, file_format, **SAVED_LOSSLESS[file_format]))

    np.testing.assert_array_equal(expected, actual)
    assert (actual[0] == 255).all()


def test_grey_with_alpha_shows_white():
    """LA is composited over white, too."""
    pixels = noise(16, 16, channels=2)
    grey = over_white(pixels[..., 0], pixels[..., 1])

    np.testing.assert_array_equal(np.stack([grey] * 3, axis=-1), decode(encode(pixels)))


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP"])
def test_a_palette_is_looked_up(file_format):
    """P becomes the colours of its palette."""
    palette = noise(256, 1)[0]
    indices = noise(16, 16, channels=0)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())

    np.testing.assert_array_equal(palette[indices], decode(encode(image, file_format)))


def test_a_palette_with_alpha_shows_white():
    """P whose entries have alpha of their own is composited over white."""
    palette, alpha = noise(256, 1)[0], noise(256, 1, channels=0, seed=1)[0]
    indices = noise(16, 16, channels=0)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    expected = over_white(palette[indices], alpha[indices][..., np.newaxis])

    actual = decode(encode(image, transparency=alpha.tobytes()))

    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(file_format):
    """P with one transparent entry, as in a GIF, shows white there."""
    palette = noise(256, 1)[0]
    indices = noise(16, 16, channels=0)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    key = int(indices[3, 3])
    expected = np.where((indices == key)[..., np.newaxis], 255, palette[indices])

    actual = decode(encode(image, file_format, transparency=key))

    np.testing.assert_array_equal(expected, actual)


def test_a_transparent_colour_is_white():
    """RGB with one colour declared transparent shows white there and itself elsewhere."""
    pixels = np.full((16, 16, 3), 40, np.uint8)
    pixels[4:8] = (10, 200, 30)
    expected = pixels.copy()
    expected[4:8] = 255

    np.testing.assert_array_equal(expected, decode(encode(pixels, transparency=(10, 200, 30))))


def test_sixteen_bit_grey_is_scaled_not_clipped():
    """16-bit grey is divided by 257: 40000 is 156, where Pillow's own conversion says 255."""
    values = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(">u2")
    values[0, :4] = 0, 40000, 65535, 128
    expected = np.rint(values.astype(float) * 255 / 65535)

    actual = decode(png(16, 16, 16, 0, [row.tobytes() for row in values]))

    np.testing.assert_array_equal(np.stack([expected] * 3, axis=-1), actual)
    assert [0, 156, 255, 0] == actual[0, :4, 0].tolist()


def test_a_transparent_sixteen_bit_grey_is_white():
    """The value declared transparent shows white; its neighbour, which scales to the same, does not."""
    values = np.full((16, 16), 1000, ">u2")
    values[0, 0] = 1001
    data = png(16, 16, 16, 0, [row.tobytes() for row in values], (b"tRNS", b"\x03\xe9"))

    assert [255, 4] == decode(data)[0, :2, 0].tolist()


def test_sixteen_bit_colour_keeps_its_high_byte():
    """16-bit RGB is read by its high byte, as Pillow and so torchvision see it."""
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype(">u2")

    actual = decode(png(16, 16, 16, 2, [row.tobytes() for row in values]))

    np.testing.assert_array_equal(values >> 8, actual)


@pytest.mark.parametrize("key", [(0x28FF, 0xC801, 0x1E80), (0, 1, 2)])
def test_a_transparent_sixteen_bit_colour_is_white(key):
    """A 16-bit colour that is declared transparent shows white, and other colours themselves."""
    values = np.full((16, 16, 3), 0x5A5A, ">u2")
    values[4:8] = key
    expected = (values >> 8).astype(np.uint8)
    expected[4:8] = 255

    chunks = (b"tRNS", struct.pack(">HHH", *key))
    actual = decode(png(16, 16, 16, 2, [row.tobytes() for row in values], chunks))

    np.testing.assert_array_equal(expected, actual)


def test_cmyk_is_read_inverted_with_and_without_a_marker():
    """A CMYK JPEG is stored inverted, as Adobe does it; one without Adobe's marker is read the same."""
    cyan, magenta, yellow, black = 200, 100, 30, 40
    ink = Image.new("CMYK", (16, 16), (cyan, magenta, yellow, black))
    data = encode(ink, "JPEG", quality=100)
    marker = data.index(b"\xff\xee")
    length = int.from_bytes(data[marker + 2 : marker + 4])
    unmarked = data[:marker] + data[marker + 2 + length :]
    expected = np.array([255 - cyan, 255 - magenta, 255 - yellow]) * (255 - black) / 255

    assert b"Adobe" in data
    assert b"Adobe" not in unmarked
    assert np.abs(decode(data) - expected).max() <= 2
    assert np.abs(decode(unmarked) - expected).max() <= 2


def test_ycck_is_read_inverted():
    """A YCCK JPEG, as Photoshop writes it, gives the colours that it was made from."""
    red, green, blue, light = 210, 90, 40, 200  # light: 255 minus black
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    stored = (luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402, light)
    inks = tuple(255 - round(value) for value in stored)  # Pillow stores 255 minus each
    data = bytearray(encode(Image.new("CMYK", (16, 16), inks), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2  # the transform: YCCK
    # libjpeg turns YCC to RGB and calls 255 minus that CMY; Pillow undoes the inversion once more
    expected = np.array([255 - red, 255 - green, 255 - blue]) * light / 255

    assert np.abs(decode(bytes(data)) - expected).max() <= 3


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("profile", [b"not a profile", swapped_profile()])
def test_a_colour_profile_is_left_aside(file_format, profile):
    """ICC profiles change nothing, whether they are broken or swap the primaries.

    torchvision's evaluation, by which the accuracies were published, does not look at them.
    """
    pixels = noise(16, 16)
    options = SAVED_LOSSLESS.get(file_format, {})

    plain = decode(encode(pixels, file_format, **options))
    tagged = decode(encode(pixels, file_format, icc_profile=profile, **options))

    np.testing.assert_array_equal(plain, tagged)


# Orientation

UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(file_format, orientation):
    """All eight EXIF orientations come out upright, from each format that has EXIF."""
    options = SAVED_LOSSLESS.get(file_format, {})
    stored = decode(encode(noise(16, 16), file_format, **options))

    actual = decode(encode(noise(16, 16), file_format, exif=exif(orientation), **options))

    np.testing.assert_array_equal(UPRIGHT[orientation](stored), actual)


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 24)), (3, (40, 24)), (6, (24, 40))])
def test_the_size_is_that_of_the_upright_image(orientation, size):
    """Width and height are those of the upright image."""
    _, info = prepare(encode(noise(40, 24), "JPEG", exif=exif(orientation)), square(16), LIMITS)

    assert size == (info.width, info.height)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
def test_any_mode_can_be_turned(mode):
    """An image is turned before it is converted to RGB, so every mode can be turned."""
    image = Image.fromarray(noise(16, 16, channels=0)).convert(mode)
    stored = decode(encode(image))

    np.testing.assert_array_equal(UPRIGHT[6](stored), decode(encode(image, exif=exif(6))))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0" + b"garbage",
        exif(6)[:20],
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 40,
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_does_not_matter(file_format, block):
    """The picture is read as if the block were not there, without a warning."""
    pixels = noise(16, 16)
    options = SAVED_LOSSLESS.get(file_format, {})

    expected = decode(encode(pixels, file_format, **options))
    actual = decode(encode(pixels, file_format, exif=block, **options))

    np.testing.assert_array_equal(expected, actual)


# Formats


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_format_is_named(file_format):
    """The answer says which format was read, in lower case."""
    _, info = prepare(encode(noise(16, 16), file_format), square(16), LIMITS)

    assert file_format.lower() == info.format


def test_a_photo_of_several_pictures_is_a_jpeg():
    """Of an MPO, which phones write, the first picture is read, and the format is JPEG."""
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = encode(first, "MPO", save_all=True, append_images=[second])

    pixels, info = prepare(data, square(16), LIMITS)

    assert b"MPF\0" in data
    assert "jpeg" == info.format
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_read(file_format):
    """Later frames are ignored."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = SAVED_LOSSLESS.get(file_format, {})
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)

    assert [255, 0, 0] == decode(data)[8, 8].tolist()


def test_a_long_animation_costs_what_its_first_frame_costs():
    """Nothing after the first frame is read."""
    frames = [Image.fromarray(noise(16, 16, channels=0, seed=n)) for n in range(50)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    np.testing.assert_array_equal(decode(data), decode(data[: len(data) // 4]))


@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_a_broken_animation_header_does_not_matter():
    """A PNG that claims an impossible animation is read as a plain one."""
    pixels = noise(16, 16)
    rows = [row.tobytes() for row in pixels]

    actual = decode(png(16, 16, 8, 2, rows, (b"acTL", bytes(8))))

    np.testing.assert_array_equal(pixels, actual)


def test_a_bitmap_may_be_stored_top_down():
    """BMP stores rows upwards, or downwards where its height is negative."""
    pixels = noise(16, 16)
    data = bytearray(encode(pixels, "BMP"))
    data[22:26] = struct.pack("<i", -16)

    np.testing.assert_array_equal(pixels[::-1], decode(bytes(data)))


@pytest.mark.parametrize(
    ("masks", "shift", "bits"),
    [
        ((0x7C00, 0x03E0, 0x001F), (10, 5, 0), (5, 5, 5)),
        ((0xF800, 0x07E0, 0x1F), (11, 5, 0), (5, 6, 5)),
    ],
)
def test_a_bitmap_may_have_sixteen_bits(masks, shift, bits):
    """BMP of 15 and of 16 bits per pixel scales each channel to 0..255."""
    words = np.random.default_rng(0).integers(0, 1 << sum(bits), (16, 16)).astype("<u2")
    header = struct.pack("<IiiHHIIiiII", 40, 16, -16, 1, 16, 3, 512, 0, 0, 0, 0)
    start = 14 + len(header) + 12
    data = struct.pack("<2sIII", b"BM", start + 512, 0, start) + header
    data += struct.pack("<III", *masks) + words.tobytes()
    channels = [
        ((words >> by) & ((1 << width) - 1)) * 255 / ((1 << width) - 1)
        for by, width in zip(shift, bits, strict=True)
    ]

    assert np.abs(decode(data) - np.stack(channels, axis=-1)).max() < 1


def bmp(header, palette, rows):
    """A BMP by hand: after its file header these parts."""
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(rows), 0, start) + header + palette + rows


def test_a_bitmap_may_be_of_os2():
    """BMP with OS/2's header of 12 bytes, 24 bits per pixel, rows upwards."""
    pixels = noise(16, 16)
    header = struct.pack("<IHHHH", 12, 16, 16, 1, 24)

    actual = decode(bmp(header, b"", pixels[::-1, :, ::-1].tobytes()))

    np.testing.assert_array_equal(pixels, actual)


def test_a_bitmap_may_have_four_bits():
    """BMP of two pixels per byte, with a palette of 16."""
    palette, indices = noise(16, 1)[0], noise(16, 16, channels=0) >> 4
    header = struct.pack("<IiiHHIIiiII", 40, 16, -16, 1, 4, 0, 128, 0, 0, 16, 0)
    entries = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()

    actual = decode(bmp(header, entries, (indices[:, ::2] << 4 | indices[:, 1::2]).tobytes()))

    np.testing.assert_array_equal(palette[indices], actual)


def test_a_bitmap_may_be_run_length_encoded():
    """BMP of 8 bits as runs, rows upwards."""
    palette = noise(256, 1)[0]
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, 0, 0, 0, 256, 0)
    entries = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    runs = b"".join(bytes([16, row, 0, 0]) for row in range(16)) + b"\0\1"

    actual = decode(bmp(header, entries, runs))

    np.testing.assert_array_equal(np.repeat(palette[15::-1], 16, axis=0), actual.reshape(-1, 3))


def test_the_fourth_byte_of_a_bitmap_is_no_alpha():
    """BMP of 32 bits without masks leaves its fourth byte unused, whatever its value."""
    pixels = noise(16, 16, channels=4)
    header = struct.pack("<IiiHHIIiiII", 40, 16, -16, 1, 32, 0, 1024, 0, 0, 0, 0)

    np.testing.assert_array_equal(pixels[..., 2::-1], decode(bmp(header, b"", pixels.tobytes())))


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_the_photos_are_small_and_can_be_read(name):
    """The photos that other tests use are at most 500 pixels wide and 60 kB."""
    data = (PHOTOS / f"{name}.jpg").read_bytes()

    pixels, info = prepare(data, EVALUATION, LIMITS)

    assert len(data) <= 60_000
    assert max(info.width, info.height) <= 500
    assert pixels.std() > 30


# What lies beside a picture, or behind it


def riff(*chunks):
    """A WebP of 48 x 32 of these chunks, of which the canvas is the first: it says that there are more."""
    canvas = (b"VP8X", struct.pack("<I", 0x2C) + b"\x2f\0\0\x1f\0\0")
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
        for kind, data in (canvas, *chunks)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def blocks(start, data):
    """An extension of a GIF: its start, then its data in blocks of at most 255 bytes."""
    pieces = (data[at : at + 255] for at in range(0, len(data), 255))
    return start + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


MUCH = noise(1000, 1000, channels=0, seed=7).tobytes()
VP8 = (b"VP8 ", SMALL["webp"][20:])
GIF_START = 13 + 3 * 256


def jpeg_with(*more):
    """The small JPEG with these segments, (marker, data), after its first two bytes."""
    parts = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in more
    )
    return SMALL["jpeg"][:2] + parts + SMALL["jpeg"][2:]


BESIDE = {
    "jpeg": [
        SMALL["jpeg"] + MUCH,
        SMALL["jpeg"] + SMALL["progressive"] * 20,
        SMALL["jpeg"][:-2],
        SMALL["jpeg"][:-1],
        SMALL["jpeg"][:-2] + bytes(5000),
        SMALL["jpeg"][:-2] + b"\0\0\0\x18ftypmp42" + MUCH,
        SMALL["jpeg"][:-2] + b"\0\0\1\n\x0e\0\0\0Image_UTC_Data1600000000000" + MUCH + b"SEFT",
        SMALL["jpeg"][:-2] + SMALL["jpeg"],
        jpeg_with(*[(0xFE, MUCH[:65_000])] * 40),
        jpeg_with(*[(0xE2, b"ICC_PROFILE\0" + bytes([n, 99]) + MUCH[:60_000]) for n in range(40)]),
        jpeg_with((0xE1, b"Exif\0\0" + SMALL["progressive"]), (0xE0, b"JFXX\0" + SMALL["jpeg"])),
        jpeg_with(*[(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + MUCH[:60_000])] * 40),
    ],
    "progressive": [
        SMALL["progressive"] + MUCH,
        SMALL["progressive"][:-2],
        SMALL["progressive"][:-2] + bytes(5000),
        SMALL["progressive"][:-2] + MUCH,
        SMALL["progressive"][:-2] + SMALL["progressive"],
    ],
    "webp": [
        SMALL["webp"] + MUCH,
        riff((b"ICCP", MUCH), VP8, (b"EXIF", MUCH), (b"XMP ", MUCH)),
        riff((b"abCd", b"123"), VP8, *[(b"abCd", MUCH[:999])] * 100),
    ],
    "gif": [
        SMALL["gif"] + MUCH,
        SMALL["gif"][:-1] + blocks(b"!\xfe", MUCH) + SMALL["gif"][-1:],
        *(
            SMALL["gif"][:GIF_START] + more + SMALL["gif"][GIF_START:]
            for more in (
                blocks(b"!\xfe", MUCH * 10),
                blocks(b"!\xff\x0bICCRGBG1012", MUCH * 10),
                blocks(b"!\xff\x0bXMP DataXMP", MUCH),
                blocks(b"!\xfe", MUCH[:300]) * 100,
            )
        ),
    ],
    "bmp": [SMALL["bmp"] + MUCH],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, at) for name, files in BESIDE.items() for at in range(len(files))]
)
def test_what_lies_beside_a_picture_changes_nothing(name, number):
    """Videos, thumbnails, profiles, comments and trailers: the answer is that without them.

    That of a PNG is in test_png_parts.py.
    """
    expected, info = prepare(SMALL[name], EVALUATION, LIMITS)

    actual, same = prepare(BESIDE[name][number], EVALUATION, LIMITS)

    np.testing.assert_array_equal(expected, actual)
    assert info == same


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_any_jpeg_may_lack_its_end(mode, options):
    """At any size that fills its last block or not; but not one that lacks a tenth of its bytes."""
    for size in ((48, 32), (61, 35), (200, 100)):
        data = encode(Image.fromarray(noise(*size)).convert(mode), "JPEG", **options)
        expected, _ = prepare(data, EVALUATION, LIMITS)

        for trailer in (b"", bytes(3000), MUCH, data):
            actual, _ = prepare(data[:-2] + trailer, EVALUATION, LIMITS)
            np.testing.assert_array_equal(expected, actual)
        for trailer in (b"", bytes(3000)):
            with pytest.raises(CorruptImageError, match="incomplete"):
                prepare(data[: len(data) * 9 // 10] + trailer, EVALUATION, LIMITS)


def test_a_cut_is_seen_wherever_it_is():
    """A wide picture whose last scan is cut off in the margins that the model does not see."""
    data = encode(noise(1024, 256), "JPEG", progressive=True, quality=50)
    start = data.rindex(b"\xff\xda")
    half = (start + len(data)) // 2

    for cut in range(half, half + 500, 20):
        with pytest.raises(CorruptImageError, match="incomplete"):
            prepare(data[:cut], EVALUATION, LIMITS)


def test_a_large_photo_without_an_end_is_called_incomplete():
    """Where it takes too long to decode it twice, it is not said that the whole photo is too large."""
    data = encode(noise(300, 200), "JPEG", progressive=True)
    limits = ImageLimits(max_pixels=100_000)
    prepare(data, EVALUATION, limits)

    with pytest.raises(CorruptImageError, match="incomplete"):
        prepare(data[:-2], EVALUATION, limits)


# Limits


def test_too_many_pixels_are_refused_from_the_header():
    """A few bytes that claim 108 million pixels are refused before anything is decoded."""
    data = png(12_000, 9000, 1, 0, [])

    with pytest.raises(ImageTooLargeError) as caught:
        prepare(data, EVALUATION, LIMITS)

    assert "The image is 12000 x 9000 (108.0 MP); the limit is 40 MP." == str(caught.value)
    assert {"width": 12000, "height": 9000, "max_pixels": 40_000_000} == caught.value.limit


@pytest.mark.parametrize("size", [(8000, 6000), (8160, 6120), (12_000, 9000), (16_320, 12_240)])
def test_photos_of_phones_are_within_the_limits(size):
    """Baseline JPEGs of 48 to 200 MP are read; progressive ones keep all coefficients in memory."""
    grey = Image.new("L", size, 99)

    _, info = prepare(encode(grey, "JPEG"), EVALUATION, LIMITS)

    assert size == (info.width, info.height)
    if size[1] <= 6120:
        with pytest.raises(ImageTooLargeError, match="the limit is 40 MP"):
            prepare(encode(grey, "JPEG", progressive=True), EVALUATION, LIMITS)


def test_a_motion_photo_is_one_picture():
    """12 MP with 6.5 MB of video behind them, in which 88 scans seem to begin, are read as 12 MP."""
    photo = encode(Image.new("L", (4032, 3024), 99), "JPEG")
    video = np.random.default_rng(1).bytes(6_500_000)

    pixels, info = prepare(photo + b"\0\0\0\x18ftypmp42" + video, EVALUATION, LIMITS)

    assert 88 == video.count(b"\xff\xda")
    assert (4032, 3024) == (info.width, info.height)
    np.testing.assert_array_equal(prepare(photo, EVALUATION, LIMITS)[0], pixels)


def test_a_bomb_is_refused_at_once():
    """9000 x 9000 pixels in 10 kB are refused before they are decompressed."""
    data = png(9000, 9000, 1, 0, [bytes(1125)] * 9000)
    start = time.perf_counter()

    with pytest.raises(ImageTooLargeError):
        prepare(data, EVALUATION, LIMITS)

    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("size", [(16_385, 8), (8, 16_385), (0x7FFFFFFF, 0x7FFFFFFF)])
def test_a_long_side_is_refused(size):
    """A side beyond the limit is refused even if the image has few pixels."""
    with pytest.raises(ImageTooLargeError, match="the limit is 16384 pixels per side") as caught:
        prepare(png(*size, 1, 0, []), EVALUATION, LIMITS)

    assert caught.value.limit is not None
    assert 16_384 == caught.value.limit["max_side"]


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 1)])
def test_too_few_pixels_are_refused(size):
    """One pixel below the limit, of either side, is too small."""
    with pytest.raises(ImageTooSmallError, match="the minimum is 8 pixels per side") as caught:
        prepare(encode(noise(*size)), EVALUATION, LIMITS)

    assert {"width": size[0], "height": size[1], "min_side": 8} == caught.value.limit


def test_limits_are_inclusive():
    """An image exactly at each limit is read."""
    limits = ImageLimits(max_pixels=8 * 20, min_side=8, max_side=20)

    assert (224, 224, 3) == prepare(encode(noise(8, 20)), EVALUATION, limits)[0].shape


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_gif_frame_larger_than_its_screen_counts():
    """A GIF of 8 x 8 whose first frame has 100 million pixels is refused."""
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    data += b"," + struct.pack("<HHHHB", 0, 0, 10_000, 10_000, 0) + b"\2\1\0\0;"

    with pytest.raises(ImageTooLargeError):
        prepare(data, EVALUATION, LIMITS)


@pytest.mark.parametrize("side", [10_000, 16_383])
def test_a_webp_canvas_larger_than_its_picture_counts(side):
    """An animated WebP that claims a huge canvas is refused, and the canvas never filled."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = bytearray(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (side - 1).to_bytes(3, "little") * 2

    with pytest.raises(ImageTooLargeError):
        prepare(bytes(data), EVALUATION, LIMITS)


def test_a_jpeg_of_too_many_scans_is_refused():
    """Each scan of 61 bytes makes a decoder go over the picture once more; their number is limited."""
    data = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    start = time.perf_counter()

    with pytest.raises(ImageTooLargeError, match="the limit is 62 at this size"):
        prepare(data[:-2] + scan * 10_000 + data[-2:], EVALUATION, LIMITS)

    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("name", "at", "crumb"),
    [
        ("jpeg", 2, b"\xff\xe5\0\2"),
        ("jpeg", 2, b"\xff\xe1\0\x09Exif\0\0."),
        ("png", 33, chunk(b"abCd", b"")),
    ],
)
def test_a_file_of_crumbs_is_refused(name, at, crumb):
    """Hundreds of thousands of empty segments are not all read."""
    data = SMALL[name][:at] + crumb * (2_000_000 // len(crumb)) + SMALL[name][at:]
    start = time.perf_counter()

    with pytest.raises(CorruptImageError):
        prepare(data, EVALUATION, LIMITS)

    assert time.perf_counter() - start < 0.5


# Damage


@pytest.mark.parametrize("name", SMALL)
def test_a_file_cut_short_is_refused_as_such(name):
    """A file cut at any 64th byte is called incomplete; half a picture is never classified."""
    data = SMALL[name]
    for length in range(64, len(data) - 16, 64):
        with pytest.raises(CorruptImageError, match="is incomplete") as caught:
            prepare(data[:length], EVALUATION, LIMITS)
        assert "BytesIO" not in str(caught.value)


@pytest.mark.parametrize("name", SMALL)
def test_a_stump_of_a_header_is_refused(name):
    """The first few bytes of an image are called damaged or unknown; nothing else is raised."""
    for length in range(1, 64):
        with pytest.raises((CorruptImageError, UnsupportedFormatError)):
            prepare(SMALL[name][:length], EVALUATION, LIMITS)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(SMALL)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 7)), min_size=1, max_size=12),
)
@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_flipped_bits_give_a_picture_or_a_refusal(name, flips):
    """Damage leads to a picture or to a RequestError."""
    data = bytearray(SMALL[name])
    for at, bit in flips:
        # Half of all flips hit the first 512 bytes, where the headers are.
        data[at % (512 if at % 2 else len(data)) % len(data)] ^= 1 << bit
    try:
        pixels, _ = prepare(bytes(data), EVALUATION, LIMITS)
    except RequestError:
        return
    assert ((224, 224, 3), "uint8") == (pixels.shape, pixels.dtype.name)


@pytest.mark.parametrize(
    "bomb",
    [
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(20_000_000))),
        (b"zTXt", b"x\0\0" + zlib.compress(bytes(20_000_000))),
        (b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(20_000_000))),
    ],
    ids=["iCCP", "zTXt", "iTXt"],
)
def test_a_metadata_bomb_costs_nothing(bomb):
    """20 MB of zeros in a compressed chunk of 20 kB are not decompressed, and the picture is read."""
    pixels = noise(16, 16)
    rows = [row.tobytes() for row in pixels]
    data = png(16, 16, 8, 2, rows, *[bomb] * 20)
    tracemalloc.start()

    np.testing.assert_array_equal(pixels, decode(data))

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data)


def test_text_chunks_cannot_pose_as_metadata():
    """A PNG text whose keyword is a name that Pillow uses neither turns nor breaks the picture."""
    texts = PngImagePlugin.PngInfo()
    for keyword in ("exif", "xmp", "icc_profile", "gamma"):
        texts.add_text(keyword, 'tiff:Orientation="none"')

    pixels = noise(16, 16)

    np.testing.assert_array_equal(pixels, decode(encode(pixels, pnginfo=texts)))


@pytest.mark.parametrize(
    ("name", "at", "lie"),
    [
        ("jpeg", SMALL["jpeg"].index(b"\xff\xc0") + 5, b"\0\x60"),  # 96 rows, not 32
        ("jpeg", SMALL["jpeg"].index(b"\xff\xc0") + 5, b"\0\x09"),
        ("png", 20, b"\0\0\0\x60"),
        ("png", 20, b"\0\0\0\x09"),
        ("gif", 8, b"\x60\0"),
        ("gif", 8, b"\x09\0"),
        ("bmp", 22, b"\x60\0\0\0"),
        ("bmp", 22, b"\x09\0\0\0"),
        ("webp", 28, b"\x60\0"),
        ("webp", 28, b"\x09\0"),
    ],
)
def test_a_wrong_height_in_a_header_does_no_harm(name, at, lie):
    """More or fewer rows than the header says: a picture of that size, or a damaged image."""
    data = bytearray(SMALL[name])
    data[at : at + len(lie)] = lie
    if name == "png":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    try:
        _, info = prepare(bytes(data), EVALUATION, LIMITS)
    except CorruptImageError:
        return
    assert info.height in {96, 32, 9}


def test_other_formats_are_not_even_opened():
    """TIFF is refused by its name, although Pillow could read it."""
    with pytest.raises(UnsupportedFormatError, match="TIFF"):
        decode(encode(noise(16, 16), "TIFF"))


def test_the_cause_is_kept_for_the_log():
    """The public sentence says little; Pillow's error is its cause."""
    with pytest.raises(CorruptImageError) as caught:
        decode(SMALL["png"][:200])

    assert caught.value.__cause__ is not None


# All of it

MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
}


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([(name, mode) for name, modes in MODES.items() for mode in modes]),
    st.integers(8, 90),
    st.integers(8, 90),
    st.integers(1, 64),
    st.integers(0, 64),
)
def test_every_picture_comes_out_in_shape(kind, width, height, crop, margin):
    """Any format, mode, size and crop give uint8 [crop, crop, 3]."""
    file_format, mode = kind
    image = Image.fromarray(noise(width, height, channels=0)).convert(mode)

    pixels, info = prepare(encode(image, file_format), square(crop + margin, crop), LIMITS)

    assert ((crop, crop, 3), "uint8") == (pixels.shape, pixels.dtype.name)
    assert pixels.flags.c_contiguous
    assert (width, height, file_format.lower()) == (info.width, info.height, info.format)


def test_threads_do_not_disturb_each_other():
    """Many threads get the same pixels as one thread."""
    uploads = [*SMALL.values()] * 4
    alone = [prepare(data, EVALUATION, LIMITS)[0] for data in uploads]

    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda data: prepare(data, EVALUATION, LIMITS)[0], uploads)

    np.testing.assert_array_equal(np.stack(alone), np.stack(list(together)))


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_hostile_files_give_a_picture_or_a_refusal():
    """Each file of Pillow's tests and of PngSuite is answered within 2 seconds."""
    if not HOSTILE.is_dir():
        pytest.skip("there is no folder of hostile files (VGG_TEST_DATA)")
    files = [path for path in sorted(HOSTILE.rglob("*")) if path.is_file()]
    read = 0
    for path in files:
        start = time.perf_counter()
        try:
            prepare(path.read_bytes(), EVALUATION, LIMITS)
            read += 1
        except RequestError:
            pass
        assert time.perf_counter() - start < 2, path.name
    assert read > len(files) / 3
