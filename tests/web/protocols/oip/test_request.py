"""Bodies of requests, good and bad, without a server."""

import base64
import json
import random
import struct

import numpy as np
import pytest

from app.errors import BadRequestError, RequestError
from app.serving.many import MOST_IMAGES
from app.web.protocols.oip.request import MOST_VALUES, read_request
from tests.conftest import png
from tests.fuzz_oip import CROP, mutated, seeds

PHOTO = png()


def body_of(tensor=b"", **members):
    """Write a request with one input, and maybe a binary tensor behind it."""
    outer = {name: members.pop(name) for name in ("id", "parameters", "outputs") if name in members}
    one = {"name": "image", "shape": [1], "datatype": "BYTES", **members}
    text = json.dumps({**outer, "inputs": [one]}).encode()
    return text + tensor, str(len(text))


def elements(*photos):
    """Write a binary tensor of type BYTES."""
    return b"".join(struct.pack("<I", len(photo)) + photo for photo in photos)


def read(body, length=None):
    return read_request(body, length, CROP)


def refusal(*arguments):
    """Return the sentence with which a request is refused."""
    with pytest.raises(BadRequestError) as caught:
        read(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_photos_come_as_a_binary_tensor(shape):
    """Each is its length and its bytes, in order; the size of the tensor may be left out."""
    tensor = elements(PHOTO, b"other")
    said = read(*body_of(tensor, shape=shape, parameters={"binary_data_size": len(tensor)}))

    assert [PHOTO, b"other"] == said.images == read(*body_of(tensor, shape=shape)).images


@pytest.mark.parametrize("nested", [False, True])
def test_photos_come_as_base64(nested):
    """In JSON, which can hold no bytes, a photo is a text."""
    texts = [base64.b64encode(photo).decode() for photo in (PHOTO, b"other")]
    data = [[text] for text in texts] if nested else texts
    body, _ = body_of(shape=[2, 1] if nested else [2], data=data)

    assert [PHOTO, b"other"] == read(body).images


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64encode(PHOTO).decode().rstrip("="),
        base64.encodebytes(PHOTO).decode(),
        f"data:image/jpeg;base64,{base64.b64encode(PHOTO).decode()}",
    ],
)
def test_base64_may_be_that_of_every_client(text):
    """As in the JSON of the other protocols."""
    assert [PHOTO] == read(body_of(shape=[1], data=[text])[0]).images


@pytest.mark.parametrize("form", ["binary", "flat", "nested"])
def test_pixels_are_the_same_in_every_form(form):
    """As bytes, as numbers in a row, and as numbers in nested lists."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, CROP, CROP, 3), np.uint8)
    about = {"shape": list(pixels.shape), "datatype": "UINT8"}
    match form:
        case "binary":
            read_pixels = read(*body_of(pixels.tobytes(), **about)).images
        case "flat":
            read_pixels = read(body_of(data=pixels.ravel().tolist(), **about)[0]).images
        case _:
            read_pixels = read(body_of(data=pixels.tolist(), **about)[0]).images

    assert np.array_equal(pixels, np.stack(read_pixels))
    assert np.uint8 == read_pixels[0].dtype


def test_body_without_json_is_one_photo_or_pixels():
    """With 0 as the length of its JSON; the answer to it is binary, as Triton's."""
    pixels = bytes(range(256)) * (2 * CROP * CROP * 3 // 256)

    photo, raw = read(PHOTO, "0"), read(pixels, "0")
    assert ([PHOTO], True) == (photo.images, photo.binary)
    assert pixels == b"".join(one.tobytes() for one in raw.images)
    assert (CROP, CROP, 3) == raw.images[0].shape


def test_what_is_asked_beside_is_read():
    """The id, the time limit in microseconds, the form of the output, the number of classes."""
    tensor = elements(PHOTO)
    plain = read(*body_of(tensor))
    asked = [{"name": "probabilities", "parameters": {"binary_data": False, "classification": 3}}]
    full = read(
        *body_of(
            tensor,
            id="7",
            parameters={"timeout": 1_500_000, "binary_data_output": True, "priority": 1},
            outputs=asked,
        )
    )

    assert ("", None, False, 0) == (plain.id, plain.timeout, plain.binary, plain.classes)
    assert ("7", 1.5, False, 3) == (full.id, full.timeout, full.binary, full.classes)
    assert read(*body_of(tensor, parameters={"binary_data_output": True})).binary


@pytest.mark.parametrize(
    ("members", "tensor", "said"),
    [
        ({"datatype": "FP32"}, b"1234", "BYTES"),
        ({"shape": []}, b"1234", "shape"),
        ({"shape": "1"}, b"1234", "shape"),
        ({"shape": [-1]}, b"1234", "shape"),
        ({"shape": [True]}, b"1234", "shape"),
        ({"shape": [0]}, b"1234", "no image"),
        ({"shape": [1, 2]}, b"1234", "[N, 1]"),
        ({"shape": [10**30]}, b"1234", f"limit is {MOST_IMAGES}"),
        ({"shape": [1, 224, 224, 3], "datatype": "UINT8"}, b"1234", "[N, 32, 32, 3]"),
        ({"shape": [1, 32, 32, 3], "datatype": "UINT8"}, b"1234", "4 bytes"),
        ({"shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [256] * 3072}, b"", "0 to 255"),
        ({"shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0.5] * 3072}, b"", "0 to 255"),
        ({"shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [[0], 1]}, b"", "0 to 255"),
        ({"name": "x"}, b"1234", "'image'"),
        ({}, b"", "no data"),
        ({}, struct.pack("<I", 2**32 - 1) + b"12", "element 0 of 1"),
        ({}, b"12", "element 0 of 1"),
        ({}, elements(PHOTO, PHOTO), "left behind"),
        ({"data": ["!"]}, b"", "base64"),
        ({"data": [1]}, b"", "base64"),
        ({"data": ["\u00e9"]}, b"", "base64"),
        ({"data": ["https://host/cat.jpg"]}, b"", "fetches nothing"),
        ({"data": ["", ""]}, b"", "2 elements"),
        ({"data": {}}, b"", "a list"),
        ({"data": [""]}, b"1234", "twice"),
        ({"parameters": {"timeout": "soon"}}, elements(PHOTO), "timeout"),
        ({"parameters": 1}, elements(PHOTO), "parameters"),
        ({"id": 1}, elements(PHOTO), "id"),
        ({"id": "x" * 2000}, elements(PHOTO), "id"),
        ({"outputs": [{"name": "fc6"}]}, elements(PHOTO), "'probabilities'"),
        ({"outputs": [{}, {}]}, elements(PHOTO), "one tensor"),
        ({"outputs": [{"parameters": {"classification": -1}}]}, elements(PHOTO), "classification"),
        ({"outputs": [{"parameters": {"shared_memory_region": "x"}}]}, elements(PHOTO), "memory"),
    ],
)
def test_mistake_is_named(members, tensor, said):
    """The sentence names the member that is wrong, or says what was expected."""
    assert said in refusal(*body_of(tensor, **members))


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [
        (b"", None, "not JSON"),
        (b"[]", None, "not an object"),
        (b"{}", None, "inputs"),
        (b"\xff", None, "UTF-8"),
        (b"[" * 100_000, None, "not JSON"),
        (b"1" * 5000, None, "not JSON"),
        (b"{}", "3", "only 2"),
        (b"{}", "-1", HEAD := "not a number"),
        (b"{}", "9" * 5000, HEAD),
        (b"[" + b"[]," * MOST_VALUES, None, f"{MOST_VALUES} values"),
    ],
)
def test_body_that_is_no_request_is_refused(body, length, said):
    """Nothing that a client can write costs more than reading it."""
    assert said in refusal(body, length)


def test_size_that_is_said_has_to_be_that_of_the_tensor():
    """It is not believed: bytes that are missing or left over are an error."""
    tensor = elements(PHOTO)
    one = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 3},
    }
    text = json.dumps({"inputs": [one]}).encode()

    assert f"{len(tensor)} bytes" in refusal(text + tensor, str(len(text)))


def test_damaged_request_is_read_or_refused():
    """Mutated bodies end in images or in an error that the client can fix, and in nothing else."""
    chance = random.Random(1)
    known = seeds()
    outcomes = set()
    for _ in range(500):
        body, length = mutated(known, chance)
        try:
            images = read(body, length).images
            outcomes.add("read")
            assert len(images) <= MOST_IMAGES
            assert sum(len(one) if isinstance(one, bytes) else one.nbytes for one in images) <= len(
                body
            )
        except RequestError:
            outcomes.add("refused")

    assert {"read", "refused"} == outcomes
