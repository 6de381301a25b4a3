"""What goes into each layer of a network, seen on a few photos: the ranges of its whole numbers.

The float32 serving graph, written by `write_vgg` with the plan DIRECT, gets a second graph on the same
weights beside it, which also gives the largest value and the mean of each channel that a layer reads.
Nothing here runs it: the caller does, with onnxruntime.

    write_vgg(place, config, layers, preprocess)          # a temporary folder
    write_probes(place, config)
    calibrate(run, photos)                                # run: a session of place / PROBE_FILE
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.graph.serving_graph import GRAPH_FILE
from app.graph.vgg import VggConfig
from app.records import PixelBatch, Tensor

PROBE_FILE: Final = "probe.onnx"
RANGES_FILE: Final = "ranges.npz"

Probe: TypeAlias = Callable[[PixelBatch], Mapping[str, NDArray[np.float32]]]
"""Runs the graph of PROBE_FILE on one batch; returns all of its outputs by name, OUTPUT among them."""


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos to calibrate with.

    Attributes:
        source: Where they are from, in words, for the log and `GET /models/NAME`.
        images: uint8 [N, crop, crop, 3].
    """

    source: str
    images: PixelBatch

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the pixels: part of the key of a graph."""
        shape = "x".join(map(str, self.images.shape)).encode()
        return hashlib.sha256(shape + self.images.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Seen:
    """What went into one layer; nothing is negative, since a ReLU is before it.

    Attributes:
        maxima: float32 [channels], the largest value of each channel.
        means: float32 [inputs]: of each channel, or of each unit before a fully connected layer.
    """

    maxima: Tensor
    means: Tensor


@dataclass(frozen=True, slots=True)
class Ranges:
    """What went into each layer but the first, which reads pixels.

    Attributes:
        source: Of the photos.
        digest: Of the photos.
        photos: How many there were.
        layers: By the name of the layer that reads it: `conv1_2` to `fc8`.
    """

    source: str
    digest: str
    photos: int
    layers: Mapping[str, Seen]


def write_probes(folder: Path, config: VggConfig) -> None:
    """Write PROBE_FILE beside the float32 serving graph in `folder`, on the same weights."""
    model = onnx.load_model(folder / GRAPH_FILE, load_external_data=False)
    for name, value, axes in _inputs(config):
        for kind, operator in (("maxima", "ReduceMax"), ("means", "ReduceMean")):
            result = f"{name}_{kind}"
            model.graph.node.append(
                helper.make_node(operator, [value], [result], axes=axes, keepdims=0)
                if axes
                else helper.make_node("Identity", [value], [result])
            )
            info = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
            model.graph.output.append(info)
    onnx.save_model(model, folder / PROBE_FILE)


def calibrate(
    run: Probe, photos: Photos, config: VggConfig, progress: Callable[[int], None] = lambda _: None
) -> Ranges:
    """Run photos one by one; `progress` is told how many are done."""
    raise NotImplementedError


def save_ranges(folder: Path, ranges: Ranges) -> None:
    """Write RANGES_FILE."""
    raise NotImplementedError


def read_ranges(folder: Path) -> Ranges:
    """Read RANGES_FILE."""
    raise NotImplementedError


def _inputs(config: VggConfig) -> Iterator[tuple[str, str, list[int]]]:
    """Yield each layer but the first, the tensor it reads in float32, and the axes of its pixels."""
    raise NotImplementedError
