"""From named tensors and ranges to a serving graph in whole numbers."""

from collections.abc import Iterable
from pathlib import Path

from app.graph.int8.calibration import Ranges
from app.graph.vgg import VggConfig
from app.records import Layer, Preprocess


def write_int8(
    folder: Path,
    config: VggConfig,
    layers: Iterable[tuple[str, Layer]],
    preprocess: Preprocess,
    ranges: Ranges,
) -> None:
    """Write the int8 serving graph of a VGG as GRAPH_FILE and WEIGHTS_FILE into `folder`.

    Its input and output are those of every serving graph (app/graph/serving_graph.py). It is for a CPU
    with VNNI, AMX or dot products: elsewhere sums of 16 bits saturate, without an error.

    Args:
        folder: An existing folder; files of the same names are overwritten.
        config: The network; its side is the crop of `preprocess`.
        layers: As for `write_vgg`; two are in memory at a time.
        preprocess: Computed in float32, before conv1_1.
        ranges: From `calibrate`, with the same weights.
    """
    raise NotImplementedError


def int8_size(config: VggConfig) -> int:
    """Estimate the size of the graph, in bytes."""
    return config.parameters()
