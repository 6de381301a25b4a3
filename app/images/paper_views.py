"""What the tests of the paper see of a photo: crops at fixed places, or all of it, at one or several scales.

Sources: Simonyan and Zisserman, arXiv 1409.1556, sections 3.2 and 4 (dense, multi-scale, 5 x 5 crops);
Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012,
section 4.1 (ten crops: corners and centre of the central square, and their mirror images).
"""

from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np

from app.records import PixelBatch, Pixels, Preprocess

TestName: TypeAlias = Literal["single", "ten-crop", "dense", "multi-scale", "multi-crop"]

_CROP: Final = 224
_SCALE: Final = 256
"""The paper's crop, and the shorter side of the photos that it is cut from."""
_SCALES: Final = (256, 384, 512)
"""The shorter sides of its tests at several scales, for weights trained on sides from 256 to 512."""
_GRID: Final = 5
"""Crops across and down in its test of many crops."""


def usual_scales(test: TestName, preprocess: Preprocess) -> tuple[int, ...]:
    """Return the shorter sides, in pixels, to which a test resizes photos unless others are given.

    With one scale it is that of the centre crop, as the manifest has it; or, if that leaves nothing
    beside the crop, the paper's in proportion: 256 for a crop of 224. With several they are the paper's,
    256, 384 and 512 for a crop of 224.
    """
    crop = preprocess.crop
    if test in {"multi-scale", "multi-crop"}:
        return tuple(round(crop * scale / _CROP) for scale in _SCALES)
    if preprocess.resize > crop:
        return (preprocess.resize,)
    return (round(crop * _SCALE / _CROP),)


def square(preprocess: Preprocess, scale: int) -> Preprocess:
    """Return how a photo becomes its central square, with a side of `scale` pixels."""
    return replace(preprocess, resize=scale, crop=scale)


def ten_crops(pixels: Pixels, crop: int) -> PixelBatch:
    """Cut the four corners and the centre out of a square, then mirror these.

    Args:
        pixels: uint8 [side, side, 3].
        crop: Side of the crops.

    Returns:
        uint8 [10, crop, crop, 3].
    """
    most = len(pixels) - crop
    middle = round(most / 2)
    places = [(0, 0), (0, most), (most, 0), (most, most), (middle, middle)]
    return _with_mirrors(pixels, places, crop)


def grid_crops(pixels: Pixels, crop: int) -> PixelBatch:
    """Cut 5 x 5 crops at even distances out of a whole photo, then mirror these.

    Args:
        pixels: uint8 [H, W, 3], no side shorter than the crop.
        crop: Side of the crops.

    Returns:
        uint8 [50, crop, crop, 3].
    """
    down, across = (
        np.rint(np.linspace(0, side - crop, _GRID)).astype(int).tolist()
        for side in pixels.shape[:2]
    )
    return _with_mirrors(pixels, [(y, x) for y in down for x in across], crop)


def _with_mirrors(pixels: Pixels, places: list[tuple[int, int]], crop: int) -> PixelBatch:
    crops = np.stack([pixels[y : y + crop, x : x + crop] for y, x in places])
    return np.concatenate([crops, crops[:, :, ::-1]])
