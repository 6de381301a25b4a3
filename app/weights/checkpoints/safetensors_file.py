"""Read a safetensors checkpoint with the tensor names of torchvision or of timm."""

from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

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

_TORCHVISION: Final = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
_TIMM: Final = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}
_DTYPES: Final = frozenset({"F16", "BF16", "F32", "F64"})
_FOREIGN: Final = (SafetensorError, OSError, ValueError, TypeError, AttributeError, MemoryError)


def read_safetensors(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`, one tensor at a time.

    Raises:
        CheckpointError: If the file is damaged or is not this network.

    Source:
        `torchvision/models/vgg.py` (`features`, `classifier`) and `timm/models/vgg.py`
        (`pre_logits` and `head`, where fc6 and fc7 are convolutions).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.keys()
            is_timm = any(name.startswith("pre_logits.") for name in found)
            names = _names(config, _TIMM if is_timm else _TORCHVISION)
            check_names(
                found, [f"{name}.{part}" for name in names.values() for part in ("weight", "bias")]
            )
            return {
                layer: Layer(
                    weight=_tensor(file, f"{names[layer]}.weight", expected.weight),
                    bias=_tensor(file, f"{names[layer]}.bias", expected.bias),
                )
                for layer, expected in expected_layers(config).items()
            }
    except _FOREIGN as exc:
        raise CheckpointError(f"cannot be read as safetensors: {shown(exc)}") from exc


def _names(config: VggConfig, head: dict[str, str]) -> dict[str, str]:
    """Map each layer to its module: `conv1_2` to `features.2`."""
    names, index = {}, 0
    for row in config.layers():
        if row.kind == "fully connected":
            names[row.name] = head[row.name]
        elif row.kind == "convolution":
            names[row.name] = f"features.{index}"
            index += 2  # the ReLU after it has an index too
        else:
            index += 1
    return names


def _tensor(file: safe_open, name: str, accepted: tuple[Shape, ...]) -> Tensor:
    stored = file.get_slice(name)  # type: ignore[no-untyped-call]
    check_shape(name, stored.get_shape(), accepted)
    if stored.get_dtype() not in _DTYPES:
        raise CheckpointError(
            f"has {name} as {shown(stored.get_dtype())}, expected one of"
            f" {', '.join(sorted(_DTYPES))}"
        )
    # NumPy knows BF16 since onnx was imported, which brings ml_dtypes.
    values = file.get_tensor(name)  # type: ignore[no-untyped-call]
    return as_tensor(name, values, accepted[0])
