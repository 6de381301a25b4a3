"""Tensors that an ONNX file keeps in other files beside it, as torch.onnx.export writes them.

The package onnx had vulnerabilities in following such names, so nothing is loaded by it: each name
and each range of bytes is checked here first.
"""

import mmap
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, Final

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from app.setup_errors import CheckpointError

_KEY: Final = b"\x0a\x08location"
"""How the key `location` of an entry is written; a file without it names no other file."""
_MOST_BYTES: Final = 2**31 - 1
"""Of one protobuf message."""
_PAGE: Final = 4096
_IN_A_BYTE: Final[dict[int, int]] = {
    TensorProto.UINT4: 2,
    TensorProto.INT4: 2,
    TensorProto.FLOAT4E2M1: 2,
    TensorProto.UINT2: 4,
    TensorProto.INT2: 4,
}
_LARGE: Final = 1024  # bytes; smaller tensors stay in the graph


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of one tensor: `length` from `offset` of `file`, which holds them."""

    file: Path
    offset: int
    length: int


def load_onnx(path: Path) -> ModelProto:
    """Read an ONNX file without the files that it names.

    Raises:
        CheckpointError: If it is none, or is larger than such a file can be.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(
            "is larger than 2 GiB, which no ONNX file can be; export it with its weights"
            " in another file (external data)"
        )
    try:
        return onnx.load_model(path, format="protobuf", load_external_data=False)
    except DecodeError as exc:
        raise CheckpointError("is not an ONNX file, or is damaged") from exc


def save_onnx(model: ModelProto, place: Path) -> None:
    """Write an ONNX file; a CheckpointError if it has become too large for one."""
    try:
        place.write_bytes(model.SerializeToString())
    except (EncodeError, ValueError) as exc:
        raise CheckpointError(f"cannot be written again: {exc}") from exc


def copy_onnx(path: Path, place: Path) -> Path | None:
    """Copy an ONNX file under another name; what it keeps in other files goes into one beside it.

    Returns:
        That file, PLACE.data; None for an ONNX file that needs no other.

    Raises:
        CheckpointError: If it names files that are missing or elsewhere.
    """
    if not data_files(path):
        shutil.copyfile(path, place)
        return None
    model, data = load_onnx(path), place.with_name(f"{place.name}.data")
    with data.open("wb") as weights:
        move_tensors(path, model, weights)
    save_onnx(model, place)
    return data


def data_files(path: Path) -> list[str]:
    """Name the files that hold tensors of an ONNX file, sorted; they are beside it.

    A file that holds all of its tensors is not even parsed, so that a start stays quick.

    Raises:
        CheckpointError: If a name leads elsewhere, or nowhere.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_KEY) < 0:
                return []
    elsewhere = (t for t in tensors(load_onnx(path)) if is_elsewhere(t))
    return sorted({locate(path, tensor).file.name for tensor in elsewhere})


def is_elsewhere(tensor: TensorProto) -> bool:
    """Return whether the values of a tensor are in another file."""
    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


def locate(path: Path, tensor: TensorProto) -> Part:
    """Find the bytes of a tensor that the ONNX file at `path` keeps in another file.

    Raises:
        CheckpointError: Unless they are in a file of the same folder, as many as they have to be.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    what = repr(tensor.name[:100])
    file = _beside(path, entries.get("location", ""), what)
    wanted = _bytes(tensor, what)
    offset, length = (
        int(text) if text.isascii() and text.isdigit() else -1
        for text in (entries.get("offset", "0"), entries.get("length", str(wanted)))
    )
    size = file.stat().st_size
    if offset < 0 or length != wanted or offset + length > size:
        raise CheckpointError(
            f"needs {wanted} bytes of {file.name!r} for {what}, and names {length} from"
            f" byte {offset} of {size}: one of the two files is damaged, or of another model"
        )
    return Part(file, offset, length)


def _beside(path: Path, location: str, what: str) -> Path:
    """Return the file that is called `location`, and is in the folder of `path`."""
    named = PureWindowsPath(location)  # which knows the separators of all systems
    if len(named.parts) != 1 or named.anchor or ".." in named.parts or "\0" in location:
        raise CheckpointError(
            f"keeps {what} in {location[:200]!r}, expected the name of a file beside it"
        )
    file = path.parent / named.name
    if not file.exists():
        raise CheckpointError(
            f"keeps its weights in {named.name!r}, which is missing: copy it into the same folder"
        )
    if not file.resolve().is_relative_to(path.parent.resolve()) or not file.is_file():
        raise CheckpointError(
            f"keeps its weights in {named.name!r}, which is no file of the same folder:"
            " copy it there"
        )
    return file


def _bytes(tensor: TensorProto, what: str) -> int:
    """Return how many bytes the values of a tensor take."""
    count = int(prod(tensor.dims))
    in_a_byte = _IN_A_BYTE.get(int(tensor.data_type), 0)
    if in_a_byte:
        return -(-count // in_a_byte)
    try:
        item = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError) as exc:
        raise CheckpointError(f"keeps {what} in another file, without its type") from exc
    if tensor.data_type == TensorProto.STRING or min(tensor.dims, default=0) < 0:
        raise CheckpointError(f"keeps {what} in another file, expected numbers there")
    return count * item


def move_tensors(path: Path, model: ModelProto, weights: BinaryIO) -> None:
    """Copy the large tensors of a model into a file, where the model then looks for them.

    Files that it names are copied as they are, so that tensors which share bytes still do, and no
    tensor has to be in memory.

    Args:
        path: The ONNX file that the model was read from.
        model: Is changed: no tensor of it is in any other file afterwards.
        weights: Open for writing; its name is stored in the model, without its folder.
    """
    starts: dict[Path, int] = {}
    name = Path(weights.name).name
    for tensor in tensors(model):
        if not is_elsewhere(tensor):
            continue
        part = locate(path, tensor)
        if part.file not in starts:
            starts[part.file] = _next_page(weights)
            with part.file.open("rb") as source:
                shutil.copyfileobj(source, weights, 2**20)
        _point(tensor, name, starts[part.file] + part.offset, part.length)
    for tensor in model.graph.initializer:
        if not is_elsewhere(tensor) and len(tensor.raw_data) >= _LARGE:
            start = _next_page(weights)
            weights.write(tensor.raw_data)
            _point(tensor, name, start, len(tensor.raw_data))


def _next_page(weights: BinaryIO) -> int:
    """Fill a page up, as each tensor is mapped by itself, and return where the next begins."""
    weights.write(b"\0" * (-weights.tell() % _PAGE))
    return weights.tell()


def _point(tensor: TensorProto, name: str, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("external_data")
    tensor.ClearField("raw_data")
    for key, value in {"location": name, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """List every tensor of a model, also those in attributes, inner graphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _of_graph(inner)
