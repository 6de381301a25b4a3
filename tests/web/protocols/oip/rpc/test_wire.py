"""A look at a message before it is read."""

import random

import pytest
from tritonclient.grpc import service_pb2

from app.errors import BadRequestError
from app.web.protocols.oip.request import MOST_VALUES
from app.web.protocols.oip.rpc.wire import check_parts
from tests.conftest import png


def request_of(**members):
    """Write a message of Triton's client."""
    message = service_pb2.ModelInferRequest(model_name="vgg", id="7", **members)
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[64])
    tensor.parameters["x"].string_param = "y"
    message.outputs.add(name="probabilities").parameters["classification"].int64_param = 5
    message.parameters["timeout"].double_param = 1.5
    return message


def test_usual_message_passes():
    """Photos in either place, and pixels in numbers up to the limit; large ones cost nothing more."""
    raw = request_of(raw_input_contents=[bytes(20_000_000)])
    photos = request_of()
    photos.inputs[0].contents.bytes_contents.extend([bytes(100_000)] * 64)
    pixels = request_of()
    pixels.inputs[0].contents.uint_contents.extend([255] * (MOST_VALUES // 2 - 10_000))

    for message in (raw, photos, pixels):
        check_parts(message.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        b"\x2a\x00" * 20_000,  # inputs
        b"\x22\x00" * 20_000,  # parameters
        b"\x3a\x00" * 20_000,  # raw_input_contents
        b"\x08\x00" * 20_000,  # a field that there is not
        b"\x2a\x80\x9c\x01" + b"\x22\x00" * 10_000 + b"\x2a\x00",  # parameters of an input
        b"\x2a\xc4\x84\x3d" + b"\x2a\xc0\x84\x3d" + b"\x22\xbc\x84\x3d" + bytes(1_000_000),
    ],
)
def test_many_parts_are_refused(body):
    """Some bytes on the wire each, some hundred in memory."""
    with pytest.raises(BadRequestError, match="too many parts"):
        check_parts(body)


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\xff" * 20, b"\x09\x00", b"\x0d\x00", b"\x2a\x02\x0a\x05"],
)
def test_what_is_no_message_is_refused(body):
    """It ends within a field, or has a field of no kind."""
    with pytest.raises(BadRequestError, match="ModelInferRequest"):
        check_parts(body)


def test_damaged_message_passes_or_is_refused():
    """Nothing else happens, and what passes is small in memory."""
    good = request_of(raw_input_contents=[png()]).SerializeToString()
    chance = random.Random(0)
    outcomes = set()
    for _ in range(500):
        data = bytearray(good)
        for _ in range(chance.choice((1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            check_parts(
                bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
            )
            outcomes.add("passes")
        except BadRequestError:
            outcomes.add("refused")

    assert {"passes", "refused"} == outcomes
