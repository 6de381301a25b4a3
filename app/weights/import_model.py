"""Somebody's own training of a VGG becomes a model: weights, labels and manifest in the model folder."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from app.graph.data_files import copy_onnx
from app.graph.own_answers import Ask, find_scores, probabilities
from app.graph.ready_graph import side_of, write_ready
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.records import PixelBatch, Preprocess, ProbabilityBatch
from app.setup_errors import CheckpointError, ManifestError, SetupError
from app.weights.checkpoints.read import format_of, read_checkpoint, recognise
from app.weights.checkpoints.safetensors_file import write_safetensors
from app.weights.download.part_file import hash_file
from app.weights.labels import load_labels
from app.weights.manifests.catalog import BUILT_IN, read_manifest
from app.weights.manifests.manifest import NAME, Manifest

Trained: TypeAlias = Literal["torchvision", "caffe", "keras"]
"""Whose preprocessing the weights were trained with."""

RunAlone: TypeAlias = Callable[[Path, PixelBatch], ProbabilityBatch]
"""Runs a serving graph on one image after the other; a CheckpointError if it fails."""

_SUFFIXES: Final = (".toml", ".txt", ".safetensors", ".onnx", ".onnx.data")
_FULL_SIDE: Final = 224
_FULL_RESIZE: Final = 256
_ROUNDING: Final = 0.01
"""Largest difference that float16 inside of a graph may make to a probability."""
_RGB: Final = ("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_BGR: Final = ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Imported:
    """A model that was written into the model folder.

    Attributes:
        manifest: What it is.
        why_as_it_is: Why the graph of an ONNX file is served, which no VGG was recognised in: what
            the file does, without a subject; empty if the layers of a VGG were taken out of a file.
    """

    manifest: Manifest
    why_as_it_is: str


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
    ask: Ask,
    run_alone: RunAlone,
    trained: Trained = "torchvision",
    license_: str = "unknown",
) -> Imported:
    """Write a model into the model folder: NAME.toml, NAME.txt, and NAME.safetensors or NAME.onnx.

    Args:
        source: A checkpoint, whose network is recognised by its shapes; or an ONNX file. If that
            computes a VGG, its layers are taken, else it is served as it is, after it was run on a
            few images.
        labels: Its classes, in the order of the output; see `load_labels`.
        name: What requests will call the model.
        model_dir: The model folder.
        ask: Runs an ONNX file.
        run_alone: Runs what is served of it, one image at a time.
        trained: Whose preprocessing it was trained with.
        license_: SPDX identifier of the licence of the weights.

    Raises:
        SetupError: If the name is taken, or a file is not what it has to be; then nothing is left.
    """
    if re.fullmatch(NAME, name) is None:
        raise SetupError(f"--name {name}: expected lower-case letters, digits, '.', '_', '-'.")
    taken = [BUILT_IN / f"{name}.toml", *(model_dir / f"{name}{suffix}" for suffix in _SUFFIXES)]
    for path in taken:
        if path.exists():
            raise SetupError(
                f"--name {name}: there is a model of this name ({path}). Choose another one."
            )
    if not labels.is_file():  # `load_labels` would find a built-in one, or one with a suffix
        raise SetupError(f"--labels {labels}: there is no such file.")
    top = {"name": name, "title": name, "labels": f"{name}.txt", "license": license_}
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".import-", dir=model_dir) as place:
            folder = Path(place)
            reason = ""
            if format_of(source) == "onnx":
                reason = _why_as_it_is(folder, source, trained, ask, run_alone)
            if reason:
                content = _ready(folder, name, source, labels, trained, ask, run_alone)
            else:
                content = _checkpoint(folder, name, source, labels, trained)
            (folder / f"{name}.txt").write_bytes(labels.read_bytes())
            manifest = folder / f"{name}.toml"
            manifest.write_text(_toml(top | content), encoding="utf-8")
            made = read_manifest(manifest)
            _move(folder, model_dir)
            return Imported(replace(made, path=model_dir / manifest.name), reason)
    except (OSError, ManifestError) as exc:
        raise SetupError(f"{name} cannot be written: {exc}") from exc


def _why_as_it_is(
    folder: Path, source: Path, trained: Trained, ask: Ask, run_alone: RunAlone
) -> str:
    """Return why an ONNX file has to be served as it is; empty if its layers can be taken.

    They can if its nodes are those of a VGG, one after the other, and if that VGG gives the answers
    of the file.
    """
    try:
        _, config = recognise(source)
        layers = read_checkpoint(source, "onnx", config)
        _width(config)
        preprocess = preprocess_of(trained, config.side)
        answers = ask(source, preprocess)
        wanted = probabilities(find_scores(answers, config.classes).rows)
        with TemporaryDirectory(dir=folder) as graph:
            write_vgg(Path(graph), config, layers.items(), preprocess)
            served = run_alone(Path(graph) / GRAPH_FILE, answers.images)
    except CheckpointError as exc:
        return str(exc).removeprefix(f"{source}: ")
    off = float(np.abs(served - wanted).max())
    if off <= _ROUNDING:
        return ""
    return f"gives probabilities that differ by {off:.2g} from those of a VGG of its weights"


def _checkpoint(
    folder: Path, name: str, source: Path, labels: Path, trained: Trained
) -> dict[str, Any]:
    """Write the weights of a checkpoint; return what the manifest says of them."""
    file_format, config = recognise(source)
    count = _count(labels)
    if count != config.classes:
        raise CheckpointError(
            f"{source}: gives {config.classes} classes, but {labels} names {count}"
        )
    width = _width(config)
    weights = folder / f"{name}.safetensors"
    write_safetensors(weights, config, read_checkpoint(source, file_format, config))
    return {
        "architecture": {
            "configuration": config.configuration,
            "width": width,
            "side": config.side,
            "hidden": config.hidden,
        },
        "checkpoint": {"format": "safetensors", "file": weights.name, "sha256": _sha256(weights)},
        "preprocess": asdict(preprocess_of(trained, config.side)),
    }


def _ready(
    folder: Path,
    name: str,
    source: Path,
    labels: Path,
    trained: Trained,
    ask: Ask,
    run_alone: RunAlone,
) -> dict[str, Any]:
    """Copy an ONNX file that can be served; return what the manifest says of it."""
    preprocess = preprocess_of(trained, side_of(source))
    with TemporaryDirectory(dir=folder) as graph:  # that it can be made is what counts
        write_ready(Path(graph), source, preprocess, _count(labels), ask)
        try:
            black = np.zeros((1, preprocess.crop, preprocess.crop, 3), np.uint8)
            run_alone(Path(graph) / GRAPH_FILE, black)
        except CheckpointError as exc:
            raise CheckpointError(f"{source}: {exc}") from exc
    place = folder / f"{name}.onnx"
    data = copy_onnx(source, place)
    content: dict[str, Any] = {
        "onnx": place.name,
        "sha256": _sha256(place),
        "preprocess": asdict(preprocess),
    }
    if data is not None:
        entry = {"file": data.name, "size": data.stat().st_size, "sha256": _sha256(data)}
        content["external"] = [entry]
    return content


def _count(labels: Path) -> int:
    return len(load_labels(labels.name, labels.parent))


def _sha256(path: Path) -> str:
    return hash_file(path, None, lambda *_: None).sha256


def _move(folder: Path, model_dir: Path) -> None:
    """Move all files of a folder into the model folder, the manifest last; or none of them."""
    files = sorted(folder.iterdir(), key=lambda path: path.suffix == ".toml")
    try:
        for path in files:
            path.rename(model_dir / path.name)
    except OSError:
        for path in files:
            if not path.exists():
                (model_dir / path.name).unlink(missing_ok=True)
        raise


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


def _toml(content: Mapping[str, Any]) -> str:
    """Write values, tables and lists of tables in TOML."""
    lines = []
    for key, value in sorted(content.items(), key=lambda item: _has_tables(item[1])):
        if not _has_tables(value):
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
            continue
        heading = f"[{key}]" if isinstance(value, dict) else f"[[{key}]]"
        for table in [value] if isinstance(value, dict) else value:
            lines += [
                "",
                heading,
                *(f"{name} = {json.dumps(one, ensure_ascii=False)}" for name, one in table.items()),
            ]
    return "\n".join(lines) + "\n"


def _has_tables(value: object) -> bool:
    return isinstance(value, (dict, list))
