"""What publishers call the layers of a VGG: each function maps the paper's names to theirs.

A layer's tensors are then NAME.weight and NAME.bias.
"""

from typing import Final

from app.graph.vgg import VggConfig

_TORCHVISION: Final = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
_TIMM: Final = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}
_KERAS: Final = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def paper_names(config: VggConfig) -> dict[str, str]:
    """Oxford's own names, and those of an ONNX graph once it has been walked: `conv1_2`."""
    return {layer: layer for layer in config.weight_shapes()}


def torchvision_names(config: VggConfig) -> dict[str, str]:
    """`conv1_2` is `features.2` (`torchvision/models/vgg.py`)."""
    return _in_sequence(config) | _TORCHVISION


def timm_names(config: VggConfig) -> dict[str, str]:
    """`conv1_2` is `features.2`; fc6 and fc7 are convolutions (`timm/models/vgg.py`)."""
    return _in_sequence(config) | _TIMM


def keras_names(config: VggConfig) -> dict[str, str]:
    """`conv1_2` is `block1_conv2` (`keras.applications`)."""
    return {
        layer: _KERAS.get(layer) or layer.replace("conv", "block").replace("_", "_conv")
        for layer in config.weight_shapes()
    }


def keras_3_names(config: VggConfig) -> dict[str, str]:
    """`conv1_2` is `conv2d_1`: weights of Keras 3 count the layers of each class."""
    names, counts = {}, {"conv2d": 0, "dense": 0}
    for layer, shape in config.weight_shapes().items():
        kind = "conv2d" if len(shape) == len("OIHW") else "dense"
        names[layer] = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
    return names


def _in_sequence(config: VggConfig) -> dict[str, str]:
    """Number the convolutions as modules of a `Sequential` that holds ReLU and pooling too."""
    names, index = {}, 0
    for row in config.layers():
        if row.kind == "convolution":
            names[row.name] = f"features.{index}"
        index += 2 if row.kind == "convolution" else 1
    return names
