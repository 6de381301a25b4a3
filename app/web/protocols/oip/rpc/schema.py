"""The messages of gRPC's Open Inference Protocol and of its health check, as tables.

Built from tables, in a pool of its own, the classes fit every version of protobuf, and do not meet
those of a client in the same process.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Fields = tuple[tuple[str, int, str], ...]
PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"
HEALTH_PACKAGE: Final = "grpc.health.v1"
HEALTH_SERVICE: Final = f"{HEALTH_PACKAGE}.Health"

SCHEMA: Final[Mapping[str, _Fields]] = {
    # message: (field, number, type), with the numbers of the protocol's grpc_service.proto and
    # model_config.proto; fields that are neither read nor written are left out. A star is a list,
    # `map:` a map from texts, `enum:` one of ENUMS.
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        *(("name", 1, "string"), ("version", 2, "string")),
        ("extensions", 3, "string*"),
    ),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "TensorMetadata": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64*")),
    "ModelMetadataResponse": (
        *(("name", 1, "string"), ("versions", 2, "string*"), ("platform", 3, "string")),
        *(("inputs", 4, "TensorMetadata*"), ("outputs", 5, "TensorMetadata*")),
    ),
    "InferParameter": (
        *(("bool_param", 1, "bool"), ("int64_param", 2, "int64"), ("string_param", 3, "string")),
        *(("double_param", 4, "double"), ("uint64_param", 5, "uint64")),
    ),
    "InferTensorContents": (("uint_contents", 4, "uint32*"), ("bytes_contents", 8, "bytes*")),
    "InferInputTensor": (
        *(("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64*")),
        *(("parameters", 4, "map:InferParameter"), ("contents", 5, "InferTensorContents")),
    ),
    "InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "map:InferParameter")),
    "ModelInferRequest": (
        *(("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string")),
        *(("parameters", 4, "map:InferParameter"), ("inputs", 5, "InferInputTensor*")),
        *(("outputs", 6, "InferRequestedOutputTensor*"), ("raw_input_contents", 7, "bytes*")),
    ),
    "InferOutputTensor": (
        *(("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64*")),
    ),
    "ModelInferResponse": (
        *(("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string")),
        *(("parameters", 4, "map:InferParameter"), ("outputs", 5, "InferOutputTensor*")),
        ("raw_output_contents", 6, "bytes*"),
    ),
    "ModelStreamInferResponse": (
        *(("error_message", 1, "string"), ("infer_response", 2, "ModelInferResponse")),
    ),
    "ModelInput": (
        *(("name", 1, "string"), ("data_type", 2, "enum:DataType"), ("format", 3, "enum:Format")),
        ("dims", 4, "int64*"),
    ),
    "ModelOutput": (
        ("name", 1, "string"),
        ("data_type", 2, "enum:DataType"),
        ("dims", 3, "int64*"),
    ),
    "ModelDynamicBatching": (),
    "ModelParameter": (("string_value", 1, "string"),),
    "ModelConfig": (
        *(("name", 1, "string"), ("platform", 2, "string"), ("max_batch_size", 4, "int32")),
        *(("input", 5, "ModelInput*"), ("output", 6, "ModelOutput*")),
        *(
            ("dynamic_batching", 11, "ModelDynamicBatching"),
            ("parameters", 14, "map:ModelParameter"),
        ),
    ),
    "ModelConfigRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelConfigResponse": (("config", 1, "ModelConfig"),),
    "StatisticDuration": (("count", 1, "uint64"), ("ns", 2, "uint64")),
    "InferStatistics": (
        *(("success", 1, "StatisticDuration"), ("fail", 2, "StatisticDuration")),
        *(("queue", 3, "StatisticDuration"), ("compute_input", 4, "StatisticDuration")),
        *(("compute_infer", 5, "StatisticDuration"), ("compute_output", 6, "StatisticDuration")),
        *(("cache_hit", 7, "StatisticDuration"), ("cache_miss", 8, "StatisticDuration")),
    ),
    "InferBatchStatistics": (
        *(("batch_size", 1, "uint64"), ("compute_input", 2, "StatisticDuration")),
        *(("compute_infer", 3, "StatisticDuration"), ("compute_output", 4, "StatisticDuration")),
    ),
    "ModelStatistics": (
        *(("name", 1, "string"), ("version", 2, "string"), ("last_inference", 3, "uint64")),
        *(("inference_count", 4, "uint64"), ("execution_count", 5, "uint64")),
        *(("inference_stats", 6, "InferStatistics"), ("batch_stats", 7, "InferBatchStatistics*")),
    ),
    "ModelStatisticsRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelStatisticsResponse": (("model_stats", 1, "ModelStatistics*"),),
    "RepositoryIndexRequest": (("repository_name", 1, "string"), ("ready", 2, "bool")),
    "ModelIndex": (
        *(("name", 1, "string"), ("version", 2, "string")),
        *(("state", 3, "string"), ("reason", 4, "string")),
    ),
    "RepositoryIndexResponse": (("models", 1, "ModelIndex*"),),
}
HEALTH_SCHEMA: Final[Mapping[str, _Fields]] = {
    "HealthCheckRequest": (("service", 1, "string"),),
    "HealthCheckResponse": (("status", 1, "enum:ServingStatus"),),
}
ENUMS: Final = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
    "Format": {"FORMAT_NONE": 0, "FORMAT_NHWC": 1},
    "ServingStatus": {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2},
}
_ONE_OF: Final = {"InferParameter": "parameter_choice"}
"""Messages of which one field is set."""


@cache
def messages() -> dict[str, Any]:
    """Return the class of each message by its name."""
    pool = descriptor_pool.DescriptorPool()
    built: dict[str, Any] = {}
    for package, schema in ((PACKAGE, SCHEMA), (HEALTH_PACKAGE, HEALTH_SCHEMA)):
        pool.Add(_describe(package, schema))
        for name in schema:
            found = pool.FindMessageTypeByName(f"{package}.{name}")
            built[name] = message_factory.GetMessageClass(found)
    return built


def _describe(package: str, schema: Mapping[str, _Fields]) -> Any:  # noqa: ANN401 (of no typed class)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, values in ENUMS.items():
        made = file.enum_type.add(name=name)
        for value, number in values.items():
            made.value.add(name=value, number=number)
    for message, fields in schema.items():
        described = file.message_type.add(name=message)
        if message in _ONE_OF:
            described.oneof_decl.add(name=_ONE_OF[message])
        for name, number, kind in fields:
            _add_field(described, package, name, number, kind)
            if message in _ONE_OF:
                described.field[-1].oneof_index = 0
    return file


def _add_field(described: Any, package: str, name: str, number: int, kind: str) -> None:  # noqa: ANN401 (the same)
    types = descriptor_pb2.FieldDescriptorProto
    field = described.field.add(name=name, number=number)
    repeated = kind.endswith("*") or kind.startswith("map:")
    field.label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
    what, _, of = kind.rstrip("*").rpartition(":")
    match what:
        case "map":
            entry = described.nested_type.add(name=f"{name.capitalize()}Entry")
            entry.options.map_entry = True
            _add_field(entry, package, "key", 1, "string")
            _add_field(entry, package, "value", 2, of)
            field.type = types.TYPE_MESSAGE
            field.type_name = f".{package}.{described.name}.{entry.name}"
        case "enum":
            field.type, field.type_name = types.TYPE_ENUM, f".{package}.{of}"
        case _ if of[0].isupper():
            field.type, field.type_name = types.TYPE_MESSAGE, f".{package}.{of}"
        case _:
            field.type = types.Type.Value(f"TYPE_{of.upper()}")
