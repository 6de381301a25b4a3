"""The tables of messages, beside those of Triton's client."""

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from app.web.protocols.oip.rpc.schema import ENUMS, HEALTH_SCHEMA, SCHEMA, SERVICE, messages

MOVED = {
    "TensorMetadata": "ModelMetadataResponse.TensorMetadata",
    "InferInputTensor": "ModelInferRequest.InferInputTensor",
    "InferRequestedOutputTensor": "ModelInferRequest.InferRequestedOutputTensor",
    "InferOutputTensor": "ModelInferResponse.InferOutputTensor",
    "ModelIndex": "RepositoryIndexResponse.ModelIndex",
}
"""Messages that are inside of others there, which does not matter on the wire."""


def theirs(name):
    """Return the published description of a message."""
    outer, *inner = MOVED.get(name, name).split(".")
    file = (
        service_pb2 if outer in service_pb2.DESCRIPTOR.message_types_by_name else model_config_pb2
    )
    found = file.DESCRIPTOR.message_types_by_name[outer]
    for one in inner:
        found = found.nested_types_by_name[one]
    return found


@pytest.mark.parametrize("name", SCHEMA)
def test_fields_have_the_published_numbers_and_types(name):
    """Each field that is in a table is what it is in the published protocol."""
    published = theirs(name).fields_by_name
    for field in messages()[name].DESCRIPTOR.fields:
        other = published[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number,
            other.type,
            other.is_repeated,
        )
        if field.type == field.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
            assert other.message_type.GetOptions().map_entry
            assert [f.type for f in field.message_type.fields] == [
                f.type for f in other.message_type.fields
            ]
        elif field.type == field.TYPE_MESSAGE:
            inside = MOVED.get(field.message_type.name, field.message_type.name)
            assert other.message_type.full_name.endswith(inside)


def test_values_have_the_published_numbers():
    """Of the datatype, and of the order of the dimensions."""
    published = {
        "DataType": model_config_pb2.DataType,
        "Format": model_config_pb2.ModelInput.Format,
    }
    for name, values in published.items():
        assert ENUMS[name].items() <= dict(values.items()).items()


def test_messages_of_a_client_are_read_and_written():
    """What one side writes, the other reads: nested messages, maps, one of several kinds of value."""
    request = service_pb2.ModelInferRequest(model_name="vgg", id="7", raw_input_contents=[b"x"])
    request.parameters["a"].bool_param = False
    request.parameters["b"].int64_param = -1
    request.inputs.add(name="image", datatype="BYTES", shape=[1])
    mine = messages()["ModelInferRequest"].FromString(request.SerializeToString())

    assert "bool_param" == mine.parameters["a"].WhichOneof("parameter_choice")
    assert -1 == mine.parameters["b"].int64_param
    assert request == service_pb2.ModelInferRequest.FromString(mine.SerializeToString())


def test_service_and_health_check_have_their_names():
    """Clients find them by these."""
    published = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

    assert published.full_name == SERVICE
    assert {"HealthCheckRequest", "HealthCheckResponse"} == set(HEALTH_SCHEMA)
