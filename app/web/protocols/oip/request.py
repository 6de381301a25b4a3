"""What a request for inference asks: its JSON, and the tensor behind it, become photos or pixels.

The protocol, https://github.com/kserve/open-inference-protocol, and Triton's extensions of it for
binary tensors and for classification. The one input is `image`: encoded photos (BYTES), each
decoded and cropped here, or pixels of the model's size (UINT8), which go straight into a batch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from app.errors import BadRequestError, UnsupportedFormatError
from app.images.formats import identify
from app.records import Pixels
from app.serving.many import check_number
from app.web.protocols.json_body import decode_photo

INPUT: Final = "image"
OUTPUT: Final = "probabilities"
HEAD_LENGTH: Final = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON; a binary tensor follows them."""
MOST_VALUES: Final = 1_000_000
"""Values in the JSON of a request. A list of empty lists takes 20 times its text in memory, so what
is counted is not bytes; pixels of six images of 224 x 224 have fewer."""
_MOST_DIMENSIONS: Final = 8
_LONGEST_ID: Final = 1024
_LONGEST_TIMEOUT: Final = 10**12
"""Microseconds; the server has a shorter limit of its own."""
_SIZE_BYTES: Final = 4
"""Of the length before each element of type BYTES, little-endian."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What was asked.

    Attributes:
        id: To be returned; empty for none.
        timeout: Seconds in which the client wants its answer; None if it does not say.
        images: Image files, or pixels uint8 [crop, crop, 3], in order.
        binary: Whether the output is to come as bytes behind the JSON.
        classes: How many of the most probable classes to name; 0 for the probabilities of all.
    """

    id: str
    timeout: float | None
    images: Sequence[bytes] | Sequence[Pixels]
    binary: bool
    classes: int


def read_request(body: bytes, head_length: str | None, crop: int) -> InferRequest:
    """Read the body of a request.

    Args:
        body: All of it, not compressed.
        head_length: The value of the header HEAD_LENGTH; None if the body is JSON alone.
        crop: Side of the images that the model takes.

    Raises:
        BadRequestError: If anything in it is not as the protocol says, or there is too much of it.
    """
    length = len(body) if head_length is None else _length(head_length, len(body))
    if head_length is not None and not length:
        return _read_raw(body, crop)
    return read_parts(_parse(body[:length]), memoryview(body)[length:], crop)


def read_parts(head: Mapping[str, Any], binary: memoryview, crop: int) -> InferRequest:
    """Read a request that is in parts already.

    Args:
        head: Its JSON.
        binary: The tensor that it does not hold, empty for none.
        crop: Side of the images that the model takes.

    Raises:
        BadRequestError: As `read_request`.
    """
    images = _read_input(_only(head, "inputs", INPUT), binary, crop)
    parameters = _parameters(head, "parameters")
    wants_bytes, classes = bool(parameters.get("binary_data_output", False)), 0
    if head.get("outputs"):
        wanted = _parameters(_only(head, "outputs", OUTPUT), "outputs[0].parameters")
        wants_bytes = bool(wanted.get("binary_data", wants_bytes))
        classes = _whole(wanted.get("classification", 0), "outputs[0].parameters.classification")
    return InferRequest(_id(head), _timeout(parameters), images, wants_bytes, classes)


def _read_raw(body: bytes, crop: int) -> InferRequest:
    """Read a body without JSON, which is one photo, or nothing but pixels; the answer is binary."""
    images: Sequence[bytes] | Sequence[Pixels] = [body]
    try:
        identify(body)
    except UnsupportedFormatError:
        number, rest = divmod(len(body), crop * crop * 3)
        if number and not rest:
            check_number(number)
            images = _pixels(body, number, crop)
    return InferRequest("", None, images, binary=True, classes=0)


def _length(value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < _MOST_DIMENSIONS * 2):
        raise BadRequestError(f"The header {HEAD_LENGTH} is not a number of bytes.")
    if int(value) > most:
        raise BadRequestError(
            f"The header {HEAD_LENGTH} says {int(value)} bytes, and the body has only {most}."
        )
    return int(value)


def _parse(text: bytes) -> dict[str, Any]:
    values = sum(map(text.count, (b",", b"[", b"{")))
    if values > MOST_VALUES:
        raise BadRequestError(
            f"The JSON has more than {MOST_VALUES} values. Send pixels as a binary tensor, with the"
            f" header {HEAD_LENGTH}.",
            limit={"values": MOST_VALUES},
        )
    try:
        head = json.loads(text.decode())
    except (ValueError, RecursionError) as exc:
        raise BadRequestError(
            "The body is not JSON in UTF-8. If a binary tensor follows the JSON, say how many bytes"
            f" are JSON in the header {HEAD_LENGTH}."
        ) from exc
    if not isinstance(head, dict):
        raise BadRequestError("The JSON is not an object with the member inputs.")
    return head


def _only(head: Mapping[str, Any], member: str, name: str) -> Mapping[str, Any]:
    """Return the one tensor of a list; it may leave out its name."""
    tensors = head.get(member)
    if not (isinstance(tensors, list) and len(tensors) == 1 and isinstance(tensors[0], dict)):
        raise BadRequestError(f"{member}: expected a list of one tensor, called {name!r}.")
    if tensors[0].get("name", name) != name:
        raise BadRequestError(f"{member}[0].name: the model has only {name!r}.")
    if "shared_memory_region" in _parameters(tensors[0], f"{member}[0].parameters"):
        raise BadRequestError(
            f"{member}[0]: this server shares no memory. Send and receive data in the body."
        )
    return tensors[0]


def _parameters(of: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = of.get("parameters") or {}
    if not isinstance(found, dict):
        raise BadRequestError(f"{where}: expected an object.")
    return found


def _read_input(
    tensor: Mapping[str, Any], binary: memoryview, crop: int
) -> Sequence[bytes] | Sequence[Pixels]:
    shape, datatype = _shape(tensor), tensor.get("datatype")
    if datatype == "BYTES":
        if len(shape) not in {1, 2} or shape[1:] not in ([], [1]):
            raise BadRequestError("inputs[0].shape: expected [N] or [N, 1], for N photos.")
    elif datatype == "UINT8":
        if shape[1:] != [crop, crop, 3]:
            raise BadRequestError(
                f"inputs[0].shape: expected [N, {crop}, {crop}, 3] for pixels of N images, the rows"
                " of each from the top, red, green and blue. Photos of any size go into a tensor of"
                " datatype BYTES."
            )
    else:
        raise BadRequestError(
            "inputs[0].datatype: expected BYTES, for image files, or UINT8, for pixels."
        )
    number = shape[0]
    if not number:
        raise BadRequestError("inputs[0].shape: there is no image in it.")
    check_number(number)
    data = tensor.get("data")
    size = _parameters(tensor, "inputs[0].parameters").get("binary_data_size")
    if data is not None:
        if binary or size:
            raise BadRequestError("inputs[0]: its data come twice, in JSON and as a binary tensor.")
        return _decode(data, number) if datatype == "BYTES" else _count(data, number, crop)
    if size is not None and _whole(size, "inputs[0].parameters.binary_data_size") != len(binary):
        raise BadRequestError(
            f"inputs[0].parameters.binary_data_size: {len(binary)} bytes follow the JSON."
        )
    if not binary:
        raise BadRequestError("inputs[0]: it has no data.")
    return _split(binary, number) if datatype == "BYTES" else _pixels(binary, number, crop)


def _shape(tensor: Mapping[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    if not (isinstance(shape, list) and 0 < len(shape) <= _MOST_DIMENSIONS):
        raise BadRequestError("inputs[0].shape: expected a list of whole numbers.")
    return [_whole(one, "inputs[0].shape") for one in shape]


def _split(data: memoryview, number: int) -> list[bytes]:
    """Return the elements of a binary tensor of type BYTES."""
    elements: list[bytes] = []
    at = 0
    for _ in range(number):
        start = at + _SIZE_BYTES
        end = start + int.from_bytes(data[at:start], "little")
        if max(start, end) > len(data):
            raise BadRequestError(
                f"inputs[0]: the binary tensor ends within element {len(elements)} of {number}. Each"
                f" is its length in {_SIZE_BYTES} bytes, little-endian, and the image file."
            )
        elements.append(bytes(data[start:end]))
        at = end
    if at != len(data):
        raise BadRequestError(
            f"inputs[0]: {len(data) - at} bytes are left behind the {number} elements of the binary"
            " tensor."
        )
    return elements


def _pixels(data: bytes | memoryview, number: int, crop: int) -> list[Pixels]:
    shape = (number, crop, crop, 3)
    if len(data) != number * crop * crop * 3:
        raise BadRequestError(
            f"inputs[0]: its data have {len(data)} bytes; its shape needs {number * crop * crop * 3}."
        )
    return list(np.frombuffer(data, np.uint8).reshape(shape))


def _decode(data: object, number: int) -> list[bytes]:
    """Return image files that are texts of base64, as JSON can hold no bytes."""
    texts = _flatten(data, most=1)
    if len(texts) != number:
        raise BadRequestError(f"inputs[0].data: {len(texts)} elements; its shape says {number}.")
    return [_decode_one(text, f"inputs[0].data[{index}]") for index, text in enumerate(texts)]


def _decode_one(text: object, where: str) -> bytes:
    if not (isinstance(text, str) and text.isascii()):
        raise BadRequestError(f"{where}: expected a photo, as a text in base64.")
    return decode_photo(text.encode(), where)


def _count(data: object, number: int, crop: int) -> list[Pixels]:
    """Return pixels that are numbers in JSON, nested or not."""
    try:
        values = bytes(_flatten(data, most=3))
    except (TypeError, ValueError) as exc:
        raise BadRequestError("inputs[0].data: expected whole numbers from 0 to 255.") from exc
    return _pixels(values, number, crop)


def _flatten(data: object, most: int) -> list[Any]:
    """Return a list without the lists in it, which may be nested so many times."""
    for _ in range(most):
        if isinstance(data, list) and data and isinstance(data[0], list):
            if not all(isinstance(one, list) for one in data):
                break
            data = list(chain.from_iterable(data))
    if not isinstance(data, list):
        raise BadRequestError("inputs[0].data: expected a list.")
    return data


def _id(head: Mapping[str, Any]) -> str:
    found = head.get("id") or ""
    if not isinstance(found, str) or len(found) > _LONGEST_ID:
        raise BadRequestError(f"id: expected a text of at most {_LONGEST_ID} characters.")
    return found


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    microseconds = _whole(parameters.get("timeout") or 0, "parameters.timeout")
    return min(microseconds, _LONGEST_TIMEOUT) / 1e6 or None


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadRequestError(f"{where}: expected a whole number, not below 0.")
    return value
