"""Read a Caffe checkpoint, `.caffemodel`: a NetParameter message with its weights inside."""

from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from app.graph.vgg import VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Stored, read_layers, shown, with_new_last

_SCHEMA: Final = {
    # message: (field, number, type), with the numbers of Caffe's caffe.proto; fields that are
    # not read are left out. Packed numbers and strings have the wire format of bytes, so that
    # 138 million floats come as one buffer, and a name in no known encoding does no harm.
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
_PARTS: Final = {0: "weight", 1: "bias"}


def read_caffe(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`, which have the paper's names in Caffe's models, but maybe the last."""
    stored = list_caffe(path)
    names = with_new_last({layer: layer for layer in config.weight_shapes()}, stored)
    return read_layers(config, names, stored)


def list_caffe(path: Path) -> dict[str, Stored]:
    """List the tensors of a file."""
    net = _net_parameter().FromString(path.read_bytes())
    stored: dict[str, Stored] = {}
    for layer in (*net.layers, *net.layer):  # layers without weights have no blobs
        for number, blob in enumerate(layer.blobs):
            name = f"{layer.name.decode('utf-8', 'replace')}.{_PARTS.get(number, number)}"
            if name in stored:
                raise CheckpointError(f"has {shown(name)} twice")
            stored[name] = _stored(name, blob)
    return stored


def _stored(name: str, blob: Any) -> Stored:  # noqa: ANN401 (BlobProto)
    shape: tuple[int, ...] = (blob.num, blob.channels, blob.height, blob.width)  # before 2015
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    data, dtype = (blob.data, "float32") if blob.data else (blob.double_data, "float64")

    def read() -> NDArray[np.generic]:
        little = np.dtype(dtype).newbyteorder("<")
        values = np.frombuffer(data[0] if len(data) == 1 else b"".join(data), little)
        if values.size != prod(shape):
            raise CheckpointError(f"has {values.size} values in {name}, expected {prod(shape)}")
        return values

    return Stored(shape, dtype, read)


def _net_parameter() -> Any:  # noqa: ANN401 (its fields are those of the schema)
    """Build the class of NetParameter from the schema, in a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number)
            label = "LABEL_REPEATED" if kind.endswith("*") else "LABEL_OPTIONAL"
            field.label = field_type.Label.Value(label)
            plain = kind.removesuffix("*")
            if plain in _SCHEMA:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".caffe.{plain}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
