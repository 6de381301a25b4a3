"""Read a Keras checkpoint in HDF5: weights of Keras 1 and 2, whole models, weights of Keras 3."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from app.errors import CheckpointError
from app.graph.vgg import LayerRow, VggConfig
from app.records import Layer
from app.weights.checkpoints.layout import as_tensor, check_dtype, check_names, check_shape, shown

_HEAD: Final = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
_PARTS: Final = {
    # `block1_conv1_W_1:0` is Keras 1, `kernel:0` Keras 2, `kernel` and `vars/0` Keras 3.
    "weight": re.compile(r"([^/]+)/(?:.+/)?(?:\1_W(?:_\d+)?|kernel|vars/0)(?::0)?"),
    "bias": re.compile(r"([^/]+)/(?:.+/)?(?:\1_b(?:_\d+)?|bias|vars/1)(?::0)?"),
}
_FOREIGN: Final = (OSError, LookupError, ValueError, TypeError, RuntimeError, ArithmeticError)


def read_keras(path: Path, config: VggConfig) -> dict[str, Layer]:
    """Read the layers of `config` and turn them from channels last to channels first.

    The first layer's channels stay in the order of the file, BGR in those of Keras.

    Raises:
        CheckpointError: If the file is damaged, is not this network, or refers to others.
    """
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            if numbered := _below("layers/", datasets):  # weights of Keras 3
                stored, names = _by_tensor(numbered), _numbered_names(config)
            else:  # a model, with its optimizer beside its weights, or weights alone
                stored = _by_tensor(_below("model_weights/", datasets) or datasets)
                names = _published_names(config)
            check_names(stored, [f"{name}.{part}" for name in names.values() for part in _PARTS])
            return {
                row.name: Layer(
                    weight=_weight(f"{names[row.name]}.weight", stored, row, seen),
                    bias=_bias(f"{names[row.name]}.bias", stored, row),
                )
                for row, seen in _rows(config)
            }
    except (*_FOREIGN, MemoryError) as exc:
        raise CheckpointError(f"cannot be read as HDF5: {shown(exc)}") from exc


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Find all datasets by their paths; links, to other files for one, are not followed.

    The paths say all that is needed. Keras's attributes `layer_names` and `weight_names`
    are not read: in a damaged file, HDF5 can take minutes and gigabytes for one text.
    """
    found = {}

    def visit(path: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            found[path] = node

    file.visititems(visit)
    return found


def _below(group: str, datasets: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    return {p.removeprefix(group): d for p, d in datasets.items() if p.startswith(group)}


def _by_tensor(datasets: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Name each dataset as the other formats do: `fc1.weight`. What is unknown keeps its path."""
    stored: dict[str, h5py.Dataset] = {}
    for path, dataset in datasets.items():
        tensors = (f"{m[1]}.{part}" for part, p in _PARTS.items() if (m := p.fullmatch(path)))
        tensor = next(tensors, path)
        stored[path if tensor in stored else tensor] = dataset
    return stored


def _published_names(config: VggConfig) -> dict[str, str]:
    """Map each layer to its name in `keras.applications`: `conv1_2` to `block1_conv2`."""
    return {
        layer: _HEAD.get(layer) or layer.replace("conv", "block").replace("_", "_conv")
        for layer in config.weight_shapes()
    }


def _numbered_names(config: VggConfig) -> dict[str, str]:
    """Map each layer to its group in Keras 3, which counts by class: `conv1_2` to `conv2d_1`."""
    names, counts = {}, {"conv2d": 0, "dense": 0}
    for layer, shape in config.weight_shapes().items():
        kind = "conv2d" if len(shape) == len("HWIO") else "dense"
        names[layer] = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
    return names


def _rows(config: VggConfig) -> Iterable[tuple[LayerRow, tuple[int, int]]]:
    """Pair each layer with weights with the height and width of the map that it sees."""
    height, width = config.side, config.side
    for row in config.layers():
        if row.weight_shape:
            yield row, (height, width)
        _, height, width = (*row.output_shape, 1, 1)[:3]


def _weight(
    name: str, stored: dict[str, h5py.Dataset], row: LayerRow, seen: tuple[int, int]
) -> NDArray[np.float32]:
    """Turn [height, width, in, out] or [in, out] into the order of `Layer`.

    A fully connected layer equals a convolution as large as the map that it sees, and
    Keras flattens that map in its own order too: height, width, channels.
    """
    out, into = row.weight_shape[:2]
    if row.kernel:
        values = _values(name, stored, (row.kernel, row.kernel, into, out))
    else:
        height, width = seen
        flat = _values(name, stored, (into, out))
        values = flat.reshape(height, width, into // (height * width), out)
    return as_tensor(name, values.transpose(3, 2, 0, 1), row.weight_shape)


def _bias(name: str, stored: dict[str, h5py.Dataset], row: LayerRow) -> NDArray[np.float32]:
    shape = row.weight_shape[:1]
    return as_tensor(name, _values(name, stored, shape), shape)


def _values(
    name: str, stored: dict[str, h5py.Dataset], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    dataset = stored[name]
    check_shape(name, dataset.shape or (), (shape,))
    check_dtype(name, dataset.dtype)
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"keeps {name} in another file, which is not read")
    return np.asarray(dataset[()])
