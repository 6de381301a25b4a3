"""What a value inside a VGG sees of the image: the arithmetic of its convolutions and pooling."""

from app.graph.vgg import VggConfig
from app.records import Area


def seen_by(config: VggConfig, layer: str, row: int, column: int) -> Area:
    """Return the part of the image on which one value of a layer's maps depends.

    A convolution with a k x k kernel and padding (k - 1) / 2 sees (k - 1) / 2 pixels more on each
    side, pooling sees twice as many: so the area is followed from the layer back to the image. What
    lies outside the image is zeros, and is cut off.

    Args:
        config: The network.
        layer: A convolution or a pooling.
        row: Of the value, from 0 at the top.
        column: Of the value, from 0 at the left.
    """
    rows = config.layers()
    upto = next(number for number, one in enumerate(rows, start=1) if one.name == layer)
    top, left, bottom, right = row, column, row + 1, column + 1
    for one in reversed(rows[:upto]):
        step = one.stride
        reach = one.kernel // 2 if one.kind == "convolution" else 0
        top, left = step * top - reach, step * left - reach
        bottom, right = step * bottom + reach, step * right + reach
    most = config.side
    return Area(max(0, left), max(0, top), min(most, right), min(most, bottom))
