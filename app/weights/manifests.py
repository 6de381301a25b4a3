"""Which models there are, and what each expects: the manifests, `NAME.toml`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.graph.vgg import ARCHITECTURES, INPUT_SIDE
from app.records import Preprocess
from app.weights.toml_table import Table, read_table

BUILT_IN: Final = Path(__file__).resolve().parents[2] / "models"
"""The manifests and labels that come with the service."""

FORMATS: Final = ("safetensors", "onnx", "keras", "caffe")
CHANNEL_ORDERS: Final = ("RGB", "BGR")
MAX_SIDE: Final = 1024
"""Pixels; a wider crop is taken for a slip of the pen."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The published file that the serving graph is built from.

    Attributes:
        format: One of FORMATS.
        file: Its name in the model folder.
        url: Where it is fetched from; None if it has to be put there by hand.
        digest: `sha256:` or `sha384:` and hex digits; None if its publisher's own word
            (or that of the one who put it there) has to do.
        size: Bytes; None if not known.
    """

    format: str
    file: str
    url: str | None
    digest: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the publisher of the weights measured on ImageNet's validation set.

    Attributes:
        top1: Per cent, single centre crop.
        top5: Per cent, single centre crop.
        source: Who says so.
    """

    top1: float
    top5: float
    source: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model: weights with their preprocessing, and where they come from.

    Attributes:
        path: The file this was read from.
        name: What a request calls it.
        title: What a person calls it.
        license: SPDX identifier of the licence of the weights.
        labels: Name of the label file, without its ending.
        preprocess: Belongs to the weights, not to the architecture.
        architecture: A key of ARCHITECTURES; None for a ready graph.
        checkpoint: What the serving graph is built from; None for a ready graph.
        onnx: File name of a ready graph; None for a checkpoint.
        onnx_digest: `sha256:` and hex digits of the ready graph, if the manifest pins it.
        trained: False for weights that never saw an image (demonstrations, tests).
        accuracy: None if nobody has measured it.
    """

    path: Path
    name: str
    title: str
    license: str
    labels: str
    preprocess: Preprocess
    architecture: str | None
    checkpoint: Checkpoint | None
    onnx: str | None
    onnx_digest: str | None
    trained: bool
    accuracy: Accuracy | None


def load_catalog(model_dir: Path) -> dict[str, Manifest]:
    """Read the built-in manifests and those of `model_dir`, which win on the same name.

    Raises:
        ManifestError: If any of them is wrong, or two of one folder share a name.
    """
    return {**_read_folder(BUILT_IN), **_read_folder(model_dir)}


def read_manifest(path: Path) -> Manifest:
    """Read and check one manifest.

    Raises:
        ManifestError: With the file, the key and what was expected.
    """
    top = read_table(path)
    name = top.text("name", pattern=_NAME, expected="lower-case letters, digits, '.', '_', '-'")
    if path.stem != name:
        top.fail("name", f"is {name!r}, expected {path.stem!r}, the name of the file")
    onnx = top.text("onnx", pattern=_FILE, expected="a file name") if top.has("onnx") else None
    checkpoint = _checkpoint(top.table("checkpoint")) if top.has("checkpoint") else None
    if (onnx is None) == (checkpoint is None):
        top.fail("checkpoint", "expected either a table [checkpoint] or a key onnx, one of the two")
    architecture = None
    if checkpoint is not None:
        architecture = top.choice("architecture", ARCHITECTURES)
    elif top.has("architecture"):
        top.fail("architecture", "only for a [checkpoint]; a ready graph has its own")
    manifest = Manifest(
        path=path,
        name=name,
        title=top.text("title"),
        license=top.text("license"),
        labels=top.text("labels", pattern=_FILE, expected="the name of a label file"),
        preprocess=_preprocess(top.table("preprocess")),
        architecture=architecture,
        checkpoint=checkpoint,
        onnx=onnx,
        onnx_digest=top.digest() if onnx else None,
        trained=top.flag("trained", default=True),
        accuracy=_accuracy(top.table("accuracy")) if top.has("accuracy") else None,
    )
    if architecture is not None and manifest.preprocess.crop != INPUT_SIDE:
        top.fail("preprocess.crop", f"is {manifest.preprocess.crop}, expected {INPUT_SIDE} for VGG")
    top.finish()
    return manifest


def _read_folder(folder: Path) -> dict[str, Manifest]:
    return {path.stem: read_manifest(path) for path in sorted(folder.glob("*.toml"))}


def _checkpoint(table: Table) -> Checkpoint:
    url = table.text("url") if table.has("url") else None
    if url is not None and not _is_web_address(url):
        table.fail("url", f"is {url!r}, expected an http or https address")
    if url is None and not table.has("file"):
        table.fail("file", "expected the name of a file in the model folder, or a url")
    checkpoint = Checkpoint(
        format=table.choice("format", FORMATS),
        file=(
            table.text("file", pattern=_FILE, expected="a file name, no folder")
            if table.has("file")
            else f"{table.path.stem}-{Path(urlsplit(url or '').path).name}"
        ),
        url=url,
        digest=table.digest(),
        size=table.whole("size", 1, 2**40) if table.has("size") else None,
    )
    table.finish()
    return checkpoint


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # an IPv6 address that is none
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _preprocess(table: Table) -> Preprocess:
    crop = table.whole("crop", 1, MAX_SIDE)
    preprocess = Preprocess(
        resize=table.whole("resize", crop, MAX_SIDE),
        crop=crop,
        channels=table.choice("channels", CHANNEL_ORDERS),
        mean=table.triple("mean"),
        std=table.triple("std"),
    )
    if min(preprocess.std) <= 0:
        table.fail("std", f"is {list(preprocess.std)}, expected numbers above 0")
    table.finish()
    return preprocess


def _accuracy(table: Table) -> Accuracy:
    accuracy = Accuracy(
        top1=table.number("top1", 0, 100),
        top5=table.number("top5", 0, 100),
        source=table.text("source"),
    )
    table.finish()
    return accuracy
