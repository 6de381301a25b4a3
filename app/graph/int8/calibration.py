"""What goes into each layer of a network, seen on a few photos: the ranges of its whole numbers.

The float32 serving graph, written by `write_vgg` with the plan DIRECT, gets a second graph on the same
weights beside it, which also gives the largest value and the mean of each channel that a layer reads.
Nothing here runs it: the caller does, with onnxruntime.

    write_vgg(place, config, layers, preprocess)          # a temporary folder
    write_probes(place, config)
    calibrate(run, photos, config)                        # run: a session of place / PROBE_FILE
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.graph.serving_graph import GRAPH_FILE
from app.graph.vgg import VggConfig
from app.records import PixelBatch, Tensor
from app.setup_errors import PrecisionError

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
        """Return the SHA-256 of what ranges depend on: part of the key of a graph."""
        about = repr(self.images.shape).encode()
        return hashlib.sha256(about + self.images.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Seen:
    """What went into one layer; nothing is negative, since a ReLU is before it.

    Attributes:
        maxima: float32 [channels or inputs], the largest value of each.
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
    """Run photos one by one, so that the activations of one are in memory.

    Args:
        run: Runs the graph of PROBE_FILE.
        photos: At least one.
        config: The network.
        progress: Told after each photo how many are done.

    Raises:
        PrecisionError: If a value is too large even for float32.
    """
    maxima: dict[str, Tensor] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    for done, image in enumerate(photos.images, start=1):
        outputs = run(image[np.newaxis])
        for name, *_ in _inputs(config):
            greatest, means = outputs[f"{name}_maxima"][0], outputs[f"{name}_means"][0]
            maxima[name] = np.maximum(maxima.get(name, greatest), greatest)
            sums[name] = sums.get(name, 0) + means.astype(np.float64)
        progress(done)
    count = len(photos.images)
    if infinite := [name for name, most in maxima.items() if not np.isfinite(most).all()]:
        raise PrecisionError(
            f"{infinite[0]} reads values that are not finite numbers: the weights are damaged, or the"
            " preprocessing is not theirs"
        )
    layers = {name: Seen(maxima[name], (sums[name] / count).astype(np.float32)) for name in maxima}
    return Ranges(photos.source, photos.digest, count, layers)


def save_ranges(folder: Path, ranges: Ranges) -> None:
    """Write RANGES_FILE: the graph beside it is in whole numbers, and this is where their scales come from."""
    about = {"source": ranges.source, "digest": ranges.digest, "photos": ranges.photos}
    arrays = {
        f"{name}.{part}": getattr(seen, part)
        for name, seen in ranges.layers.items()
        for part in ("maxima", "means")
    }
    np.savez(folder / RANGES_FILE, about=np.array(json.dumps(about)), **arrays)


def _inputs(config: VggConfig) -> Iterator[tuple[str, str, list[int]]]:
    """Yield each layer but the first, the tensor it reads in float32, and the axes of its pixels."""
    for before, layer in pairwise(config.layers()):
        if not layer.weight_shape:
            continue
        if layer.kind == "convolution":
            relu = before.kind == "convolution"
            yield layer.name, f"{before.name}_relu" if relu else before.name, [2, 3]
        elif before.kind == "max-pooling":
            yield layer.name, "pool5_flat", []
        else:
            yield layer.name, f"{before.name}_relu", []
