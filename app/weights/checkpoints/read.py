"""Read any published checkpoint of the VGG family as layers, checked throughout."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from safetensors import SafetensorError

from app.graph.vgg import VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints.caffe_file import list_caffe, read_caffe
from app.weights.checkpoints.keras_file import list_keras, read_keras
from app.weights.checkpoints.layout import Stored, shown
from app.weights.checkpoints.onnx_file import list_onnx, read_onnx
from app.weights.checkpoints.pth_file import list_pth, read_pth
from app.weights.checkpoints.recognise import config_of
from app.weights.checkpoints.safetensors_file import list_safetensors, read_safetensors

_READERS: Final[dict[str, Callable[[Path, VggConfig], dict[str, Layer]]]] = {
    "safetensors": read_safetensors,
    "onnx": read_onnx,
    "keras": read_keras,
    "caffe": read_caffe,
    "pth": read_pth,
}
_LISTS: Final[dict[str, Callable[[Path], dict[str, Stored]]]] = {
    "safetensors": list_safetensors,
    "onnx": list_onnx,
    "keras": list_keras,
    "caffe": list_caffe,
    "pth": list_pth,
}
"""What tells the network in a file: its tensors, with names that say their order."""
_FOREIGN: Final = (
    *(SafetensorError, DecodeError, OSError, LookupError, ValueError, TypeError, AttributeError),
    *(RuntimeError, ArithmeticError, MemoryError),
)
"""What the libraries raise for damaged files."""

_ADVICE: Final = ". Any other network is served as an ONNX file: docs/your-own-model.md"

_PICKLE: Final = (
    "which is not read, as it can run any code: load it with PyTorch and save it again with"
    " torch.save(model.state_dict(), 'weights.pth')"
)
_SIGNS: Final = (
    # format (empty if it is not supported), the first bytes of its files, its name
    ("safetensors", rb".{3}[\x00-\x06]\x00{4}\{", "a safetensors file"),
    ("keras", rb"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ("onnx", rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX file"),
    ("caffe", rb"\x0a(?:[\x00-\x7f])[\x20-\x7e]*(?:\x12|\xa2\x06)", "a Caffe model"),
    ("", rb"\x80[\x00-\x05]", f"a pickle, {_PICKLE}"),
    ("pth", rb"PK\x03\x04", "a checkpoint of PyTorch (a zip archive)"),
    ("", rb"version https://git-lfs", "a pointer of Git LFS and not the file it points to"),
    ("", rb"\s*<(?:!|html|\?xml)", "a web page"),
    ("", rb"\x1f\x8b|BZh|\xfd7zXZ|.{257}ustar", "an archive, which has to be unpacked first"),
)
_HEAD: Final = 512  # bytes; enough for each sign

_BYTES_A_PARAMETER: Final = 16  # float64 twice, as Caffe may store gradients too
_BYTES_BESIDES: Final = 2**24  # names and structure: a few thousand bytes in practice


def read_checkpoint(path: Path, file_format: str, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` from one file. Nothing is ever unpickled.

    The file has to hold this network, no more and no less.

    Returns:
        The layers in order, by the paper's names, `conv1_1` to `fc8`. Finite, native,
        contiguous, possibly read-only. The input channels of conv1_1 stay in the order
        that the weights were trained with, RGB or BGR.
    """
    try:
        _check_file(path, file_format, config)
        return _READERS[file_format](path, config)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    except _FOREIGN as exc:
        raise CheckpointError(f"{path}: cannot be read as {file_format}: {shown(exc)}") from exc


def format_of(path: Path) -> str:
    """Return the format of a file, from its first bytes.

    Raises:
        CheckpointError: If it is in no format that is read.
    """
    try:
        head = _head(path)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from None
    for file_format, pattern, what in _SIGNS:
        if re.match(pattern, head, re.DOTALL):
            if not file_format:
                raise CheckpointError(f"{path}: looks like {what}")
            return file_format
    raise CheckpointError(f"{path}: is in none of the formats that are read: {', '.join(_READERS)}")


def recognise(path: Path) -> tuple[str, VggConfig]:
    """Return the format of a file and the network in it, from the shapes of its weights.

    Raises:
        CheckpointError: If it is in no format that is read, or holds no network of the family. That
            an ONNX file computes the network of its weights is seen when these are read.
    """
    file_format = format_of(path)
    try:
        stored = _LISTS[file_format](path)
        try:
            return file_format, config_of(stored)
        except CheckpointError as exc:
            raise CheckpointError(
                f"holds no VGG: {exc}{'' if file_format == 'onnx' else _ADVICE}"
            ) from None
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    except _FOREIGN as exc:
        raise CheckpointError(f"{path}: cannot be read: {shown(exc)}") from exc


def _check_file(path: Path, file_format: str, config: VggConfig) -> None:
    """Refuse files that are wrong by their size or first bytes, which says more than a reader."""
    if file_format not in _READERS:
        raise CheckpointError(f"cannot be read as {file_format!r}, only as {', '.join(_READERS)}")
    head, size = _head(path), path.stat().st_size
    most = _BYTES_A_PARAMETER * config.parameters() + _BYTES_BESIDES
    if size > most:
        raise CheckpointError(f"has {size} bytes, expected at most {most} for this network")
    for sign_of, pattern, what in _SIGNS:
        if re.match(pattern, head, re.DOTALL):
            if sign_of != file_format:
                raise CheckpointError(f"is not {file_format}: it looks like {what}")
            return


def _head(path: Path) -> bytes:
    """Return the first bytes of a file that is not empty."""
    try:
        if not path.is_file():
            raise CheckpointError("is not there, or is not a file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as exc:
        raise CheckpointError(f"cannot be opened: {exc.strerror}") from exc
    if not head:
        raise CheckpointError("is empty")
    return head
