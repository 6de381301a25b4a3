"""Read a Keras checkpoint in HDF5: weights of Keras 1 and 2, whole models, weights of Keras 3."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.graph.vgg import VggConfig
from app.records import Layer
from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Stored, read_layers, with_new_last

_DENSE: Final = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}

Datasets: TypeAlias = dict[str, Any]
"""h5py.Dataset, by path or by tensor."""

_PARTS: Final = {
    # `block1_conv1_W_1:0` is Keras 1, `kernel:0` Keras 2, `kernel` and `vars/0` Keras 3.
    "weight": re.compile(r"([^/]+)/(?:.+/)?(?:\1_W(?:_\d+)?|kernel|vars/0)(?::0)?"),
    "bias": re.compile(r"([^/]+)/(?:.+/)?(?:\1_b(?:_\d+)?|bias|vars/1)(?::0)?"),
}


def read_keras(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` and turn them from channels last to channels first."""
    h5py = _load_h5py()
    with h5py.File(path, "r") as file:
        tensors, numbered = _tensors(_datasets(file, h5py.Dataset))
        names = _keras_3_names(config) if numbered else with_new_last(_keras_names(config), tensors)
        # The map that a fully connected layer sees was flattened as height, width, channels.
        pooled = next(row.output_shape for row in config.layers() if row.name == "pool5")
        flat = {f"{names['fc6']}.weight": (*pooled[1:], pooled[0])}
        stored = {
            name: _stored(name, data, flat.get(name, (1, 1, -1))) for name, data in tensors.items()
        }
        return read_layers(config, names, stored)


def list_keras(path: Path) -> dict[str, Stored]:
    """List the tensors of a file, which cannot be read afterwards."""
    h5py = _load_h5py()
    with h5py.File(path, "r") as file:
        tensors, _ = _tensors(_datasets(file, h5py.Dataset))
        return {name: _stored(name, data, (1, 1, -1)) for name, data in tensors.items()}


def _tensors(datasets: Datasets) -> tuple[Datasets, bool]:
    """Return the weights by tensor, and whether they are numbered, as Keras 3 does."""
    if numbered := _below("layers/", datasets):
        return _by_tensor(numbered), True
    # a model, with its optimizer beside its weights, or weights alone
    return _by_tensor(_below("model_weights/", datasets) or datasets), False


def _keras_names(config: VggConfig) -> dict[str, str]:
    """Return `block1_conv2` for `conv1_2` (`keras.applications`)."""
    return {
        layer: _DENSE.get(layer) or layer.replace("conv", "block").replace("_", "_conv")
        for layer in config.weight_shapes()
    }


def _keras_3_names(config: VggConfig) -> dict[str, str]:
    """Return `conv2d_1` for `conv1_2`: weights of Keras 3 count the layers of each class."""
    names, counts = {}, {"conv2d": 0, "dense": 0}
    for layer, shape in config.weight_shapes().items():
        kind = "conv2d" if len(shape) == len("OIHW") else "dense"
        names[layer] = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
    return names


def _load_h5py() -> Any:  # noqa: ANN401 (a module without types)
    """Import h5py now and not at the start: it is optional, 15 MB for one format."""
    try:
        return importlib.import_module("h5py")
    except ImportError as exc:
        raise CheckpointError(
            f"needs h5py, which is not installed: {sys.executable} -m pip install h5py (none of the"
            " built-in models needs it)"
        ) from exc


def _datasets(file: Any, dataset: type) -> Datasets:  # noqa: ANN401 (h5py.File)
    """Find all datasets by their paths; links, to other files for example, are not followed.

    The paths are enough. Keras's attributes `layer_names` and `weight_names` are not read: in a
    damaged file, HDF5 can take minutes and gigabytes for one text.
    """
    found: Datasets = {}

    def visit(path: str, node: object) -> None:
        if isinstance(node, dataset):
            found[path] = node

    file.visititems(visit)
    return found


def _below(group: str, datasets: Datasets) -> Datasets:
    return {p.removeprefix(group): d for p, d in datasets.items() if p.startswith(group)}


def _by_tensor(datasets: Datasets) -> Datasets:
    """Name each dataset as the other formats do: `fc1.weight`. Unknown ones keep their path."""
    named: Datasets = {}
    for path, dataset in datasets.items():
        tensors = (f"{m[1]}.{part}" for part, p in _PARTS.items() if (m := p.fullmatch(path)))
        tensor = next(tensors, path)
        named[path if tensor in named else tensor] = dataset
    return named


def _stored(name: str, dataset: Any, seen: tuple[int, ...]) -> Stored:  # noqa: ANN401 (h5py.Dataset)
    """Turn [height, width, in, out] and [in, out] into the order of `Layer`.

    `seen` is [height, width, channels] of the map that a fully connected layer sees.
    """

    def read() -> NDArray[np.generic]:
        if dataset.is_virtual or dataset.external:
            raise CheckpointError(f"keeps {name} in another file, which is not read")
        values = np.asarray(dataset[()])
        if values.ndim == len(("in", "out")):
            values = values.reshape(*seen, values.shape[-1])
        return values.transpose(3, 2, 0, 1) if values.ndim > 1 else values

    shape = dataset.shape or ()
    turned = (*shape[:1:-1], *shape[:2]) if len(shape) == len("HWIO") else shape[::-1]
    return Stored(turned, dataset.dtype.name, read)
