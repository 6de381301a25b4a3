"""From gRPC's messages to a request for inference, and from its answer to a message."""

import json
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from app.errors import BadRequestError
from app.web.protocols.oip.rpc.schema import messages
from app.web.protocols.oip.rpc.wire import check_parts


def read_message(data: bytes) -> tuple[str, str, dict[str, Any], memoryview]:
    """Return the name of the model, its version, and the parts that `read_parts` takes.

    Raises:
        BadRequestError: If it is no ModelInferRequest, or has too many parts.
    """
    check_parts(data)
    try:
        message = messages()["ModelInferRequest"].FromString(data)
    except DecodeError as exc:
        raise BadRequestError("The message is not a ModelInferRequest.") from exc
    head: dict[str, Any] = {
        "id": message.id,
        "parameters": _values(message.parameters) | {"binary_data_output": True},
        "inputs": [
            {
                "name": one.name,
                "datatype": one.datatype,
                "shape": list(one.shape),
                "parameters": _values(one.parameters),
            }
            for one in message.inputs
        ],
        "outputs": [
            {"name": one.name, "parameters": _values(one.parameters) | {"binary_data": True}}
            for one in message.outputs
        ],
    }
    version = message.model_version or "1"
    return message.model_name, version, head, memoryview(_tensor(message))


def _tensor(message: Any) -> bytes:  # noqa: ANN401 (a ModelInferRequest)
    """Return the data of the only input, as a binary tensor."""
    contents = [one.contents for one in message.inputs if one.HasField("contents")]
    if len(message.raw_input_contents) + len(contents) != 1:
        raise BadRequestError(
            "Expected the data of one input, in raw_input_contents or in its contents."
        )
    if not contents:
        return bytes(message.raw_input_contents[0])
    if contents[0].bytes_contents:
        return b"".join(len(one).to_bytes(4, "little") + one for one in contents[0].bytes_contents)
    try:
        return bytes(contents[0].uint_contents)
    except ValueError as exc:
        raise BadRequestError("uint_contents: expected numbers from 0 to 255.") from exc


def write_message(head_length: str, body: bytes) -> Any:  # noqa: ANN401 (a ModelInferResponse)
    """Return the answer to a request, as a message, from its binary form.

    Args:
        head_length: The value of the header HEAD_LENGTH.
        body: JSON and binary tensor.
    """
    head = json.loads(body[: int(head_length)])
    [output] = head["outputs"]
    del output["parameters"]  # the size of the tensor
    said = head.pop("parameters", {})
    message = ParseDict(head, messages()["ModelInferResponse"]())
    for name, value in said.items():
        parameter = message.parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        else:
            parameter.string_param = str(value)
    message.raw_output_contents.append(body[int(head_length) :])
    return message


def _values(parameters: Any) -> dict[str, Any]:  # noqa: ANN401 (a map of InferParameter)
    """Return parameters as they would be in JSON."""
    found: dict[str, Any] = {}
    for name, one in parameters.items():
        kind = one.WhichOneof("parameter_choice")
        found[name] = None if kind is None else getattr(one, kind)
    return found
