"""Writes PyTorch's checkpoints without PyTorch."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage"}


def text(value: str) -> bytes:
    """Push a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """Push a number."""
    return b"J" + struct.pack("<i", value)


def call(name: str, arguments: bytes) -> bytes:
    """Call a global, `module name`, with a tuple of what the arguments push."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + arguments + b"tR"


def tensor(
    key: str, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], count: int
) -> bytes:
    """Push a tensor, as torch.save does."""
    storage = b"(" + text("storage") + b"ctorch\n" + _STORAGES[dtype].encode() + b"\n"
    storage += text(key) + text("cpu") + number(count) + b"tQ"
    sides = b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, strides)) + b"t"
    hooks = call("collections OrderedDict", b"")
    return call("torch._utils _rebuild_tensor_v2", storage + number(0) + sides + b"\x89" + hooks)


def pickle_of(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the pickle of a state dict."""
    items = b""
    for place, (name, values) in enumerate(tensors.items()):
        strides = tuple(step // values.itemsize for step in values.strides)
        items += text(name) + tensor(
            str(place), values.dtype.name, values.shape, strides, values.size
        )
    return b"\x80\x02" + call("collections OrderedDict", b"") + b"(" + items + b"u."


def write_pth(path: Path, tensors: Mapping[str, NDArray[Any]], pickle: bytes | None = None) -> None:
    """Write a checkpoint; its pickle may be another one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle_of(tensors) if pickle is None else pickle)
        archive.writestr("model/byteorder", "little")
        for place, values in enumerate(tensors.values()):
            archive.writestr(f"model/data/{place}", np.ascontiguousarray(values).tobytes())
