"""Read a safetensors checkpoint with the tensor names of torchvision or of timm."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.graph.vgg import VggConfig
from app.records import Layer
from app.weights.checkpoints.layout import Stored
from app.weights.checkpoints.torch_names import of_network, read_torch_layers, torchvision_tensors

# NumPy has bfloat16 since onnx was imported, which imports ml_dtypes.
_DTYPES: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def read_safetensors(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config`."""
    with safe_open(path, framework="numpy") as file:
        return read_torch_layers(config, _listed(file))


def write_safetensors(path: Path, config: VggConfig, layers: Mapping[str, Layer]) -> None:
    """Write a checkpoint with torchvision's names; an OSError if the disk does not take it."""
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(torchvision_tensors(config, layers), path)
        path.chmod(mode)  # safetensors 0.8 lets its owner alone read it, who may not be the server
    except SafetensorError as exc:
        raise OSError(f"{path}: {exc}") from exc


def list_safetensors(path: Path) -> dict[str, Stored]:
    """List the tensors of a file, which cannot be read afterwards."""
    with safe_open(path, framework="numpy") as file:
        return _listed(file)


def _listed(file: Any) -> dict[str, Stored]:  # noqa: ANN401 (safe_open, without types)
    return of_network({name: _stored(file, name) for name in file.keys()})  # noqa: SIM118 (no dict)


def _stored(file: safe_open, name: str) -> Stored:
    tensor = file.get_slice(name)  # type: ignore[no-untyped-call]
    dtype = tensor.get_dtype()
    read = partial(file.get_tensor, name)
    return Stored(tuple(tensor.get_shape()), _DTYPES.get(dtype, dtype), read)
