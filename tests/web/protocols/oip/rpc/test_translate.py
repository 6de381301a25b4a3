"""Messages become requests, and answers become messages."""

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from app.errors import BadRequestError
from app.web.protocols.oip.request import read_parts
from app.web.protocols.oip.rpc.translate import read_message, write_message


def message_of(datatype="BYTES", shape=(2,)):
    """Return a message of Triton's client with one input."""
    message = service_pb2.ModelInferRequest(model_name="vgg", id="7")
    message.inputs.add(name="image", datatype=datatype, shape=shape)
    return message


def read(message):
    """Return the model, its version, and what is asked."""
    name, version, head, tensor = read_message(message.SerializeToString())
    return name, version, read_parts(head, tensor, crop=2)


def test_photos_are_in_either_place():
    """As one binary tensor, or as elements of the input's contents."""
    raw, contents = message_of(), message_of()
    raw.raw_input_contents.append(b"\1\0\0\0a\2\0\0\0bc")
    contents.inputs[0].contents.bytes_contents.extend([b"a", b"bc"])

    for message in (raw, contents):
        name, version, asked = read(message)
        assert ("vgg", "1", "7") == (name, version, asked.id)
        assert [b"a", b"bc"] == asked.images
        assert asked.binary


def test_pixels_are_in_either_place():
    """As bytes, or as numbers."""
    raw, contents = message_of("UINT8", [1, 2, 2, 3]), message_of("UINT8", [1, 2, 2, 3])
    raw.raw_input_contents.append(bytes(range(244, 256)))
    contents.inputs[0].contents.uint_contents.extend(range(244, 256))

    for message in (raw, contents):
        [image] = read(message)[2].images
        assert np.array_equal(np.arange(244, 256, dtype=np.uint8).reshape(2, 2, 3), image)


def test_what_is_asked_beside_is_read():
    """Parameters of each kind, the version, the output that is wanted."""
    message = message_of()
    message.inputs[0].contents.bytes_contents.extend([b"a", b"bc"])
    message.model_version = "3"
    message.parameters["timeout"].int64_param = 1_500_000
    message.parameters["nothing"].SetInParent()
    message.outputs.add(name="probabilities").parameters["classification"].int64_param = 5
    _, version, asked = read(message)

    assert ("3", 1.5, 5, True) == (version, asked.timeout, asked.classes, asked.binary)


@pytest.mark.parametrize(
    ("raw", "numbers"), [([], []), ([b"", b""], []), ([b""], [1]), ([], [256])]
)
def test_data_that_are_not_those_of_one_input_are_refused(raw, numbers):
    """None, two, in both places, or out of range."""
    message = message_of("UINT8", [1, 2, 2, 3])
    message.raw_input_contents.extend(raw)
    message.inputs[0].contents.uint_contents.extend(numbers)

    with pytest.raises(BadRequestError):
        read(message)


def test_bytes_that_are_no_message_are_refused():
    """Its texts are not UTF-8."""
    with pytest.raises(BadRequestError, match="ModelInferRequest"):
        read_message(b"\x0a\x01\xff")


def test_answer_becomes_a_message():
    """The tensor stays as it is; what is said of the model keeps its kind."""
    head = {
        "model_name": "vgg",
        "model_version": "1",
        "id": "7",
        "parameters": {"trained": False, "precision": "int8"},
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {"binary_data_size": 8},
            }
        ],
    }
    text = json.dumps(head).encode()
    mine = write_message(str(len(text)), text + b"12345678")
    message = service_pb2.ModelInferResponse.FromString(mine.SerializeToString())

    assert [b"12345678"] == list(message.raw_output_contents)
    assert ("vgg", "1", "7") == (message.model_name, message.model_version, message.id)
    assert ("probabilities", "FP32", [1, 2]) == (
        message.outputs[0].name,
        message.outputs[0].datatype,
        list(message.outputs[0].shape),
    )
    assert "bool_param" == message.parameters["trained"].WhichOneof("parameter_choice")
    assert "int8" == message.parameters["precision"].string_param
