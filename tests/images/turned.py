"""Photos that lie on their side, with EXIF's word for it."""

import io
from typing import Final

from PIL import Image

_STORED: Final = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By orientation: what makes the stored image of the upright one."""
_ORIENTATION: Final = 0x0112


def turned(upright: Image.Image, orientation: int, kind: str = "PNG", **options: int) -> bytes:
    """Store a photo so that a reader has to turn it by its EXIF orientation, 1 to 8."""
    turn = _STORED[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    data = io.BytesIO()
    (upright if turn is None else upright.transpose(turn)).save(data, kind, exif=exif, **options)
    return data.getvalue()
