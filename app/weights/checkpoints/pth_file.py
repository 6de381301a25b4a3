"""Read a checkpoint of PyTorch 1.6 or newer, a zip archive of a pickle and of numbers.

The pickle is not unpickled: `torch_pickle` says how it is read.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from app.graph.vgg import VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Stored, shown
from app.weights.checkpoints.torch_names import of_network, read_torch_layers
from app.weights.checkpoints.torch_pickle import MAX_BYTES, TensorRef, read_structure

_WRAPPED: Final = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "ema")
"""Keys under which training scripts save the weights beside other things; the first one counts."""

_ENTRY: Final = b"PK\x01\x02"
"""How each entry begins in the table of contents of a zip archive."""
_MOST_ENTRIES: Final = 10_000


def read_pth(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`."""
    return read_torch_layers(config, list_pth(path))


def list_pth(path: Path) -> dict[str, Stored]:
    """List the tensors of a file by torchvision's names."""
    with _opened(path) as archive:
        pickle, root = _pickle(archive)
        order = f"{root}/byteorder"
        big = order in archive.namelist() and _entry(archive, order, len(b"little")) == b"big"
    return {
        name: Stored(
            tensor.shape,
            tensor.storage.dtype,
            partial(_read, path, f"{root}/data/{tensor.storage.key}", tensor, ">" if big else "<"),
        )
        for name, tensor in _state_dict(read_structure(pickle)).items()
    }


def _pickle(archive: ZipFile) -> tuple[bytes, str]:
    """Return the pickle of an archive, and the folder that it is in."""
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise CheckpointError(
            f"is a zip archive with {len(found)} files data.pkl, expected one: it was not written by"
            " torch.save, or is a TorchScript archive"
        )
    return _entry(archive, found[0], MAX_BYTES + 1), found[0].removesuffix("/data.pkl")


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    """Open an archive whose table of contents takes little memory; what zipfile raises is ours."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at, entries = content.find(_ENTRY), 0
        while at >= 0 and entries <= _MOST_ENTRIES:
            at, entries = content.find(_ENTRY, at + 1), entries + 1
    if entries > _MOST_ENTRIES:
        raise CheckpointError(f"is a zip archive of more than {_MOST_ENTRIES} entries")
    try:
        with ZipFile(path) as archive:
            yield archive
    except (BadZipFile, NotImplementedError, EOFError) as exc:
        raise CheckpointError(f"is a damaged zip archive: {shown(exc)}") from exc


def _entry(archive: ZipFile, name: str, most: int = -1) -> bytes:
    """Read an entry, or at most its first bytes."""
    if archive.getinfo(name).compress_type != ZIP_STORED:  # a few bytes could become gigabytes
        raise CheckpointError(f"has {shown(name)} compressed, which torch.save never does")
    with archive.open(name) as file:
        return file.read(most)


def _state_dict(saved: Any) -> dict[str, TensorRef]:  # noqa: ANN401 (whatever was saved)
    """Find the tensors of the network, alone, under a known key, or under the only key that has any."""
    known = [saved[key] for key in _WRAPPED if key in saved] if isinstance(saved, dict) else []
    deeper = [one[key] for one in known if isinstance(one, dict) for key in _WRAPPED if key in one]
    for candidate in (saved, *known, *deeper):
        if _is_state_dict(candidate):
            return of_network(candidate)
    others = [*filter(_is_state_dict, saved.values())] if isinstance(saved, dict) else []
    if len(others) == 1:
        return of_network(others[0])
    keys = ", ".join(map(str, saved)) if isinstance(saved, dict) else type(saved).__name__
    raise CheckpointError(
        f"has no state dict, alone or under one of {', '.join(_WRAPPED)}; it has {shown(keys)}"
    )


def _is_state_dict(saved: Any) -> bool:  # noqa: ANN401 (whatever was saved)
    return isinstance(saved, dict) and bool(saved) and all(map(_is_tensor, saved.items()))


def _is_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], TensorRef)


def _read(path: Path, entry: str, tensor: TensorRef, order: str) -> NDArray[np.generic]:
    """Read a tensor whose shape has been checked."""
    dtype = np.dtype(tensor.storage.dtype).newbyteorder(order)  # type: ignore[arg-type] # a sign
    with _opened(path) as archive:
        if entry not in archive.namelist():
            raise CheckpointError(f"lacks {shown(entry)}")
        data = _entry(archive, entry)
    expected = tensor.storage.count * dtype.itemsize
    if len(data) != expected:  # what the archive says of the size may be wrong
        raise CheckpointError(f"has {len(data)} bytes in {shown(entry)}, expected {expected}")
    numbers = np.frombuffer(data, dtype)
    strides = tuple(dtype.itemsize * step for step in tensor.strides)
    return as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
