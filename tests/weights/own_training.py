"""Somebody's own training of a VGG in PyTorch, in each form that it may be handed over in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
import safetensors.numpy

from app.graph.vgg import VggConfig
from app.records import Pixels, Preprocess
from tests.weights.checkpoints.test_read import Tensors, write_caffe, write_keras

NETWORK: Final = VggConfig("D", hidden=(24, 16), classes=10, side=64).scaled(1 / 8)
FULL: Final = VggConfig("D", classes=10)
"""VGG-16 as the paper has it, but for its classes."""
NAMES: Final = tuple(f"flower {number}" for number in range(NETWORK.classes))


def some_photos(side: int = NETWORK.side) -> Pixels:
    """Draw photos [N, side, side, 3] of different colours."""
    shape = (3, side, side, 3)
    colours = np.array([[1, 1, 1], [1, 9, 9], [9, 9, 1]], np.uint8)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8) // colours[:, None, None]


def trained(preprocess: Preprocess, *, has_norm: bool = False, network: VggConfig = NETWORK) -> Any:
    """Build a network as torchvision lays it out, in evaluation mode; no answer is near certainty."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(5)
    features, classifier, channels = [], [], 3
    for row in network.layers():
        if row.kind == "max-pooling":
            features.append(nn.MaxPool2d(2, 2))
        elif row.kind == "convolution":
            width = row.weight_shape[0]
            norm = [nn.BatchNorm2d(width)] if has_norm else []
            features += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
            channels = width
        else:
            classifier += [nn.Linear(row.weight_shape[1], row.weight_shape[0])]
            classifier += [nn.ReLU(), nn.Dropout()] if row.name != "fc8" else []
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*features))
    model.add_module("avgpool", nn.AdaptiveAvgPool2d(network.side // 32))
    model.add_module("flatten", nn.Flatten())
    model.add_module("classifier", nn.Sequential(*classifier))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.8, 1.2)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, std=0.3)
    logits = _logits(model.eval(), some_photos(network.side), preprocess)
    with torch.no_grad():
        for tensor in classifier[-1].parameters():
            tensor.div_(logits.std())
    return model


def probabilities(model: Any, pixels: Pixels, preprocess: Preprocess) -> Any:
    """Return what PyTorch says of photos [N, H, W, 3]: [N, classes]."""
    return _logits(model, pixels, preprocess).softmax(1).numpy()


def _logits(model: Any, pixels: Pixels, preprocess: Preprocess) -> Any:
    torch = pytest.importorskip("torch")
    ordered = pixels[..., ::-1] if preprocess.channels == "BGR" else pixels
    values = (torch.from_numpy(ordered.copy()) - torch.tensor(preprocess.mean)) / torch.tensor(
        preprocess.std
    )
    with torch.no_grad():
        return model(values.permute(0, 3, 1, 2))


def write_torch(path: Path, model: Any) -> None:
    """As the last line of a training script."""
    pytest.importorskip("torch").save(model.state_dict(), path)


def write_safetensors(path: Path, model: Any) -> None:
    """The state dict."""
    safetensors.numpy.save_file(_state(model), path)


def write_onnx(path: Path, model: Any) -> None:
    """As the exporter writes that needs PyTorch alone: a fixed batch of 1."""
    torch = pytest.importorskip("torch")
    side = 32 * model.avgpool.output_size
    photo = torch.zeros(1, 3, side, side)
    torch.onnx.export(model, (photo,), path, dynamo=False)


def write_onnx_with_data(path: Path, model: Any) -> None:
    """As the newer exporter lays it out: the weights beside the file."""
    write_onnx(path, model)
    onnx.save_model(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=0,
    )


def write_h5(path: Path, model: Any) -> None:
    """As Keras stores it: height, width, in, out; the last map is flattened with its channels last."""
    tensors = _by_layer(model)
    for key, values in tensors.items():
        if key == ("fc6", "weight"):
            side = model.avgpool.output_size
            planes = values.reshape(len(values), -1, side, side)
            tensors[key] = planes.transpose(2, 3, 1, 0).reshape(-1, len(values))
        elif values.ndim > 1:
            tensors[key] = values.transpose((2, 3, 1, 0) if values.ndim > 2 else (1, 0))
    write_keras(path, tensors)


def write_caffemodel(path: Path, model: Any) -> None:
    """As Caffe stored the paper's networks."""
    write_caffe(path, _by_layer(model))


def _state(model: Any) -> dict[str, Any]:
    return {name: values.numpy() for name, values in model.state_dict().items()}


def _by_layer(model: Any) -> Tensors:
    """Return the tensors by the paper's names, which are in the order of PyTorch's."""
    state = _state(model)
    places = dict.fromkeys(name.rpartition(".")[0] for name in state)
    return {
        (name, part): state[f"{place}.{part}"]
        for name, place in zip(NETWORK.weight_shapes(), places, strict=True)
        for part in ("weight", "bias")
    }


FORMS: Final[Mapping[str, Callable[[Path, Any], None]]] = {
    "flowers.pth": write_torch,
    "flowers.safetensors": write_safetensors,
    "flowers.onnx": write_onnx,
    "model.onnx": write_onnx_with_data,
    "flowers.h5": write_h5,
    "flowers.caffemodel": write_caffemodel,
}
"""By the names of the files."""
