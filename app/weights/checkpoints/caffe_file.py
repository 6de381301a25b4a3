"""Read a Caffe checkpoint, `.caffemodel`: a NetParameter message with its weights inside."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError, Message

from app.errors import CheckpointError
from app.graph.vgg import VggConfig
from app.records import Layer, Tensor
from app.weights.checkpoints.layout import (
    Shape,
    as_tensor,
    check_names,
    check_shape,
    expected_layers,
    shown,
)

_SCHEMA: Final = {
    # message: (field, number, type). The numbers of Caffe's caffe.proto; what is not
    # read here is left out. Packed numbers and strings have the wire format of bytes, so
    # that 138 million floats come as one buffer, and a name in no known encoding does no harm.
    "BlobShape": (("dim", 1, "int64*"),),
    "BlobProto": (
        ("num", 1, "int32"),
        ("channels", 2, "int32"),
        ("height", 3, "int32"),
        ("width", 4, "int32"),
        ("data", 5, "bytes*"),
        ("shape", 7, "BlobShape"),
        ("double_data", 8, "bytes*"),
    ),
    "LayerParameter": (("name", 1, "bytes"), ("blobs", 7, "BlobProto*")),
    "V1LayerParameter": (("name", 4, "bytes"), ("blobs", 6, "BlobProto*")),
    "NetParameter": (("layers", 2, "V1LayerParameter*"), ("layer", 100, "LayerParameter*")),
}
_PARTS: Final = ("weight", "bias")
_FOREIGN: Final = (DecodeError, OSError, ValueError, TypeError, MemoryError)


class _BlobShape(Protocol):
    dim: Sequence[int]


class _Blob(Protocol):
    num: int
    channels: int
    height: int
    width: int
    data: Sequence[bytes]
    shape: _BlobShape
    double_data: Sequence[bytes]

    def HasField(self, field_name: str) -> bool: ...  # noqa: N802 - protobuf's name


class _Layer(Protocol):
    name: bytes
    blobs: Sequence[_Blob]


class _Net(Protocol):
    layers: Sequence[_Layer]
    layer: Sequence[_Layer]


def read_caffe(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`, which have the paper's names in Caffe's models.

    The first layer's channels stay in the order of the file, BGR in those of Oxford.

    Raises:
        CheckpointError: If the file is damaged or is not this network.
    """
    try:
        net = cast("_Net", _NET_PARAMETER.FromString(path.read_bytes()))
        blobs = _blobs([*net.layers, *net.layer])
        check_names(
            blobs, [f"{layer}.{part}" for layer in config.weight_shapes() for part in _PARTS]
        )
        return {
            layer: Layer(
                weight=_tensor(f"{layer}.weight", blobs[f"{layer}.weight"], expected.weight),
                bias=_tensor(f"{layer}.bias", blobs[f"{layer}.bias"], expected.bias),
            )
            for layer, expected in expected_layers(config).items()
        }
    except _FOREIGN as exc:
        raise CheckpointError(f"cannot be read as a caffemodel: {shown(exc)}") from exc


def _blobs(layers: Iterable[_Layer]) -> dict[str, _Blob]:
    """Name each blob: `conv1_1.weight`. Layers without blobs have nothing to say here."""
    blobs: dict[str, _Blob] = {}
    for layer in layers:
        name = layer.name.decode("utf-8", "replace")
        for number, blob in enumerate(layer.blobs):
            key = f"{name}.{_PARTS[number] if number < len(_PARTS) else number}"
            if key in blobs:
                raise CheckpointError(f"has {shown(key)} twice")
            blobs[key] = blob
    return blobs


def _tensor(name: str, blob: _Blob, accepted: tuple[Shape, ...]) -> Tensor:
    shape: Shape = (blob.num, blob.channels, blob.height, blob.width)  # Caffe before 2015
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    check_shape(name, shape, accepted)
    data, dtype = (blob.data, "<f4") if blob.data else (blob.double_data, "<f8")
    values = np.frombuffer(data[0] if len(data) == 1 else b"".join(data), dtype)
    if values.size != np.prod(accepted[0]):
        raise CheckpointError(
            f"has {values.size} values in {name}, expected {np.prod(accepted[0])}"
        )
    return as_tensor(name, values, accepted[0])


def _net_parameter() -> type[Message]:
    """Build the message classes from the schema, in a pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number)
            field.label = (
                field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            )
            plain = kind.removesuffix("*")
            if plain in _SCHEMA:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".caffe.{plain}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


_NET_PARAMETER: Final = _net_parameter()
