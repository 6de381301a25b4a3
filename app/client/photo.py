"""What a user may give as an image, as bytes to send: files as they are, pixels as a PNG."""

import os
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, BinaryIO, Final, Protocol, TypeAlias, cast

_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_COLOUR_TYPES: Final = {1: 0, 3: 2, 4: 6}
"""PNG's number for the channels of an array: grey, RGB, RGBA."""


class PillowImage(Protocol):
    """An image of Pillow."""

    @property
    def mode(self) -> str:
        """`RGB`, `L` and so on."""

    def save(self, fp: Any, format: Any = None, **options: Any) -> None:  # noqa: A002, ANN401 (as Pillow)
        """Write it."""

    def convert(self, mode: Any = None) -> Any:  # noqa: ANN401 (as Pillow)
        """Return it in another mode."""

    def getexif(self) -> Any:  # noqa: ANN401 (as Pillow)
        """Return its EXIF, which says which side is up."""


class Array(Protocol):
    """An array of numpy, or of a library whose arrays become one."""

    def __array__(self) -> Any:  # noqa: ANN401 (as numpy)
        """Return an array of numpy."""


Image: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PillowImage | Array
)
"""A path, a file's bytes, an open file, an image of Pillow, or an array: uint8 [height, width, 3], RGB."""


@dataclass(slots=True)
class Photo:
    """The bytes of one photo, which can be sent again.

    Attributes:
        file: Where they are; at `start` when a try begins.
        start: Where they begin.
        size: Their number.
        owned: Whether `close` closes the file.
    """

    file: BinaryIO
    start: int
    size: int
    owned: bool = True

    def begin(self) -> None:
        """Go to the beginning."""
        self.file.seek(self.start)

    def close(self) -> None:
        """Close what was opened here."""
        if self.owned:
            self.file.close()


def open_photo(image: Image) -> Photo:
    """Return the bytes of an image.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If it is nothing of the kind.
        ValueError: If it is a URL, or an array of another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        if isinstance(image, str) and image.startswith(("http://", "https://")):
            raise ValueError("An image is no URL: nothing is fetched. Give its bytes.")
        file = open(image, "rb")  # noqa: PTH123, SIM115 (closed with the photo)
        return _of_file(file, owned=True)
    if isinstance(image, bytes | bytearray):
        return _of_bytes(bytes(image))
    if hasattr(image, "read"):
        return _of_file(cast("BinaryIO", image), owned=False)
    if hasattr(image, "getexif") and hasattr(image, "save"):
        return _of_bytes(_of_pillow(cast("PillowImage", image)))
    if isinstance(image, memoryview) or hasattr(image, "__array__"):
        return _of_bytes(_of_array(image))
    raise TypeError(
        "An image is a path, bytes, an open file, an image of Pillow or an array of numpy;"
        f" this is of the type {type(image).__name__}."
    )


def _of_bytes(data: bytes) -> Photo:
    return Photo(BytesIO(data), 0, len(data))


def _of_file(file: BinaryIO, *, owned: bool) -> Photo:
    try:
        photo = _of_seekable(file, owned=owned) if file.seekable() else None
        data = b"" if photo else file.read()  # a pipe, which cannot be sent again
    except BaseException:
        if owned:
            file.close()
        raise
    if photo:
        return photo
    if owned:
        file.close()
    return _of_bytes(data)


def _of_seekable(file: BinaryIO, *, owned: bool) -> Photo:
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    if not isinstance(file.read(0), bytes):
        raise TypeError("The file is open as text. Open it with the mode 'rb'.")
    return Photo(file, start, max(0, size), owned)


def _of_pillow(image: PillowImage) -> bytes:
    if image.mode not in _PNG_MODES:
        image = cast("PillowImage", image.convert("RGB"))
    data = BytesIO()
    image.save(data, "PNG", compress_level=1, exif=image.getexif())
    return data.getvalue()


def _of_array(array: Any) -> bytes:  # noqa: ANN401 (of any library)
    view = memoryview(array if isinstance(array, memoryview) else array.__array__())
    if view.format != "B":
        raise ValueError(
            f"An array has values of uint8, 0 to 255; these are {getattr(array, 'dtype', view.format)}."
            " Convert it: (255 * array).round().astype('uint8') for values of 0 to 1."
        )
    if view.ndim == 1:  # a file, as cv2.imencode and np.fromfile return it
        return view.tobytes()
    shape = view.shape or ()
    grey = len(shape) == 2  # noqa: PLR2004 (no third axis)
    channels = 1 if grey else shape[-1]
    if len(shape) not in {2, 3} or channels not in _COLOUR_TYPES or 0 in shape:
        raise ValueError(
            f"An array is [height, width, 3] in the order RGB, or [height, width]; this one is"
            f" {[*shape]}. Give several photos to classify_many, one by one."
        )
    height, width, row = shape[0], shape[1], shape[1] * channels
    data = view.tobytes()
    lines = b"".join(b"\0" + data[at : at + row] for at in range(0, height * row, row))
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
