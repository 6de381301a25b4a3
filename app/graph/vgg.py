"""The VGG family as data: the configurations of the paper, and everything derived from them.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image
Recognition, arXiv 1409.1556, table 1. All convolutions have stride 1 and keep the side of
their input; each of the five groups ends in 2x2 max-pooling with stride 2; two layers of
4096 and one of 1000 follow. ReLU after each layer but the last. No local response
normalisation: the paper tried it (A-LRN) and found that it gains nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

INPUT_SIDE = 224
CLASSES = 1000

CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    # One tuple per group, one number per convolution: the side of its kernel.
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
FIRST_LAYER = "conv1_1"
LAST_LAYER = "fc8"
"""The layer that gives the logits."""

ARCHITECTURES = {"vgg11": "A", "vgg13": "B", "vgg16c": "C", "vgg16": "D", "vgg19": "E"}
"""The common name of each configuration: its number of layers with weights (C has 16 too)."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One row of the layer table.

    Attributes:
        name: The paper's name: `conv1_1`, `pool1`, `fc6`.
        kind: `convolution`, `max-pooling` or `fully connected`.
        output_shape: [channels, height, width] or [units].
        receptive_field: Side, in pixels of the input image, of the area one output depends on.
        kernel: Side of the kernel, in pixels; 0 for a fully connected layer, as is the stride.
        weight_shape: [out, in, height, width] or [out, in]; empty without weights.
        parameters: Weights and biases.
        multiply_adds: Per image.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    receptive_field: int
    kernel: int = 0
    stride: int = 0
    weight_shape: tuple[int, ...] = ()
    parameters: int = 0
    multiply_adds: int = 0


@dataclass(frozen=True, slots=True)
class VggConfig:
    """One network of the family.

    Attributes:
        configuration: `A` to `E`, the column of the paper's table 1.
        group_channels: Channels of the five groups.
        hidden: Units of fc6 and fc7.
        classes: Units of fc8.
        side: Side of the input image, in pixels, a multiple of 32.
    """

    configuration: str
    group_channels: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    hidden: tuple[int, int] = (4096, 4096)
    classes: int = CLASSES
    side: int = INPUT_SIDE

    def scaled(self, width: float) -> "VggConfig":
        """Return the same network with a share of its channels, at least one a group."""
        first, second, third, fourth, fifth = (
            max(1, round(width * channels)) for channels in self.group_channels
        )
        return replace(self, group_channels=(first, second, third, fourth, fifth))

    def layers(self) -> tuple[LayerRow, ...]:
        """List the layers in order, pooling included."""
        return tuple(self._rows())

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map the name of each layer with weights to the shape of its weight, in order."""
        return {row.name: row.weight_shape for row in self._rows() if row.weight_shape}

    def parameters(self) -> int:
        """Count all weights and biases."""
        return sum(row.parameters for row in self._rows())

    def multiply_adds(self) -> int:
        """Count the multiply-adds of one image."""
        return sum(row.multiply_adds for row in self._rows())

    def _rows(self) -> Iterator[LayerRow]:
        side, channels = self.side, 3
        field, jump = 1, 1  # receptive field; distance between neighbours in input pixels
        for group, kernels in enumerate(CONFIGURATIONS[self.configuration], start=1):
            width = self.group_channels[group - 1]
            for number, kernel in enumerate(kernels, start=1):
                field += (kernel - 1) * jump
                weights = width * channels * kernel * kernel
                yield LayerRow(
                    f"conv{group}_{number}",
                    "convolution",
                    (width, side, side),
                    field,
                    kernel=kernel,
                    stride=1,
                    weight_shape=(width, channels, kernel, kernel),
                    parameters=weights + width,
                    multiply_adds=weights * side * side,
                )
                channels = width
            side //= 2
            field += jump
            jump *= 2
            shape = (channels, side, side)
            yield LayerRow(f"pool{group}", "max-pooling", shape, field, kernel=2, stride=2)
        inputs = channels * side * side
        field += (side - 1) * jump  # fc6 sees the whole map: the paper's 7x7 convolution
        units_of = zip(("fc6", "fc7", LAST_LAYER), (*self.hidden, self.classes), strict=True)
        for name, units in units_of:
            yield LayerRow(
                name,
                "fully connected",
                (units,),
                field,
                weight_shape=(units, inputs),
                parameters=units * inputs + units,
                multiply_adds=units * inputs,
            )
            inputs = units


def architecture(name: str) -> VggConfig:
    """Return the network with this common name, one of ARCHITECTURES."""
    return VggConfig(ARCHITECTURES[name])
