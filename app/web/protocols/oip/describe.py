"""A server and its models as clients of the protocol want them described."""

from typing import Any, Final

from app import __version__
from app.serving.hosted_models import HostedModel
from app.serving.loading import Loaded
from app.serving.many import MOST_IMAGES
from app.web.protocols.oip.answer import VERSION
from app.web.protocols.oip.request import INPUT, OUTPUT

SERVER: Final[dict[str, Any]] = {
    "name": "vgg-serve",
    "version": __version__,
    "extensions": [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    ],
}
_PLATFORM: Final = "onnx_onnxv1"


def metadata_of(model: HostedModel) -> dict[str, Any]:
    """Return the tensors of a model, which are known before it is loaded; -1 is any number of images."""
    crop = model.manifest.preprocess.crop
    return {
        "name": model.manifest.name,
        "versions": [VERSION],
        "platform": _PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, crop, crop, 3]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.labels)]}],
    }


def config_of(model: HostedModel, stands_in_for: str | None) -> dict[str, Any]:
    """Return a model's configuration as Triton has it; its parameters say what is loaded."""
    crop = model.manifest.preprocess.crop
    said: dict[str, object] = {"title": model.manifest.title}
    if model.loaded is not None:
        said |= parameters_of(model.loaded) | {
            "device": model.loaded.device,
            "precision": model.loaded.precision,
        }
    if stands_in_for:
        said["stands_in_for"] = stands_in_for
    return {
        "name": model.manifest.name,
        "platform": _PLATFORM,
        "max_batch_size": MOST_IMAGES,
        "input": [
            {
                "name": INPUT,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [crop, crop, 3],
            }
        ],
        "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [len(model.labels)]}],
        "dynamic_batching": {},
        "parameters": {name: {"string_value": _text(value)} for name, value in said.items()},
    }


def parameters_of(loaded: Loaded) -> dict[str, object]:
    """Return what an answer says of its model beside its name, as in an answer of POST /predict."""
    said: dict[str, object] = {"weights_sha256": loaded.weights_sha256, "trained": loaded.trained}
    if loaded.precision == "int8":
        said["precision"] = loaded.precision
    return said


def index_of(model: HostedModel) -> dict[str, str]:
    """Return a model's entry in the index of the repository."""
    if model.loaded is not None:
        state, reason = ("READY", "") if model.answers() else ("UNAVAILABLE", "stopped")
    elif model.state == "failed":
        state, reason = "UNAVAILABLE", "failed to load; the log says why"
    else:
        state, reason = "LOADING", model.describe_progress()
    return {
        "name": model.manifest.name,
        "version": VERSION,
        "state": state,
        "reason": reason,
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
