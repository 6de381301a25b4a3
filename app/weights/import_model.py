"""Somebody's own training of a VGG becomes a model: weights, labels and manifest in the model folder."""

import json
import re
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from app.errors import CheckpointError, ManifestError, SetupError
from app.graph.vgg import VggConfig
from app.records import Preprocess
from app.weights.checkpoints.read import read_checkpoint, recognise
from app.weights.checkpoints.safetensors_file import write_safetensors
from app.weights.download.part_file import hash_file
from app.weights.labels import load_labels
from app.weights.manifests import BUILT_IN, NAME, Manifest, read_manifest

Trained: TypeAlias = Literal["torchvision", "caffe", "keras"]
"""Whose preprocessing the weights were trained with."""

_FULL_SIDE: Final = 224
_FULL_RESIZE: Final = 256
_RGB: Final = ("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_BGR: Final = ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))


def preprocess_of(trained: Trained, side: int) -> Preprocess:
    """Return the preprocessing of a training for a network of this side.

    `torchvision`: RGB, ImageNet's mean and standard deviation; `caffe`: BGR, minus the mean; both
    crop 7/8 of the resized photo. `keras`: BGR, minus the mean (`keras.applications.vgg16`), and no
    crop in height or width beyond the square.
    """
    channels, mean, std = _RGB if trained == "torchvision" else _BGR
    resize = side if trained == "keras" else round(side * _FULL_RESIZE / _FULL_SIDE)
    return Preprocess(resize, side, channels, mean, std)


def import_model(
    source: Path,
    labels: Path,
    name: str,
    model_dir: Path,
    *,
    trained: Trained = "torchvision",
    license_: str = "unknown",
) -> Manifest:
    """Write NAME.safetensors, NAME.txt and NAME.toml into the model folder.

    Args:
        source: A checkpoint in any format but ONNX; the network is recognised by its shapes.
        labels: Its classes, in the order of the output; see `load_labels`.
        name: What requests will call the model.
        model_dir: The model folder.
        trained: Whose preprocessing it was trained with.
        license_: SPDX identifier of the licence of the weights.

    Raises:
        SetupError: If the name is taken, or a file is not what it has to be; then nothing is left.
    """
    if re.fullmatch(NAME, name) is None:
        raise SetupError(f"--name {name}: expected lower-case letters, digits, '.', '_', '-'.")
    files = [model_dir / f"{name}{suffix}" for suffix in (".safetensors", ".txt", ".toml")]
    if (BUILT_IN / f"{name}.toml").exists() or any(file.exists() for file in files):
        raise SetupError(f"--name {name}: there is a model of this name. Choose another one.")
    file_format, config = recognise(source)
    count = len(load_labels(labels.name, labels.parent))
    if count != config.classes:
        raise CheckpointError(
            f"{source}: gives {config.classes} classes, but {labels} names {count}"
        )
    width = _width(config)
    layers = read_checkpoint(source, file_format, config)
    weights, names, manifest = files
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        write_safetensors(weights, config, layers)
        names.write_bytes(labels.read_bytes())
        digest = hash_file(weights, None, lambda *_: None).sha256
        preprocess = preprocess_of(trained, config.side)
        text = _manifest(name, license_, config, width, digest, preprocess)
        manifest.write_text(text, encoding="utf-8")
        return read_manifest(manifest)
    except (OSError, ManifestError) as exc:
        for path in files:
            path.unlink(missing_ok=True)
        raise SetupError(f"{name} cannot be written: {exc}") from exc


def _width(config: VggConfig) -> float:
    """Return the share of the paper's channels, of which a manifest has one for all groups."""
    paper = VggConfig(config.configuration)
    width = config.group_channels[0] / paper.group_channels[0]
    if config.group_channels != paper.scaled(width).group_channels:
        raise CheckpointError(
            f"has groups of {list(config.group_channels)} channels, expected one share of"
            f" {list(paper.group_channels)}"
        )
    return width


def _manifest(
    name: str, license_: str, config: VggConfig, width: float, digest: str, preprocess: Preprocess
) -> str:
    """Write a manifest in TOML."""
    tables: dict[str, dict[str, Any]] = {
        "architecture": {
            "configuration": config.configuration,
            "width": width,
            "side": config.side,
            "hidden": list(config.hidden),
        },
        "checkpoint": {"format": "safetensors", "file": f"{name}.safetensors", "sha256": digest},
        "preprocess": {
            "resize": preprocess.resize,
            "crop": preprocess.crop,
            "channels": preprocess.channels,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
        },
    }
    top = {"name": name, "title": name, "labels": f"{name}.txt", "license": license_}
    lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
    for table, values in tables.items():
        lines += [
            "",
            f"[{table}]",
            *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
        ]
    return "\n".join(lines) + "\n"
