"""The names of the classes, in the order of the network's output."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.graph.vgg import VggConfig
from app.records import Label
from app.setup_errors import LabelsError
from app.texts import read_text
from app.weights.manifests.catalog import BUILT_IN
from app.weights.manifests.manifest import Manifest

IMAGENET: Final = "imagenet-1k"
"""The labels of ImageNet's 1000 classes."""
LEAST: Final = 2
MOST: Final = 100_000
"""Classes; of a network that knows one, every photo is that."""

_WNID: Final = re.compile(r"n\d{8}")
_LONGEST_NAME: Final = 1000
"""Characters of a name, with all its synonyms."""


def load_labels(name: str, model_dir: Path) -> tuple[Label, ...]:
    """Read a label file: a text file in which line i names class i - 1.

    A line is a name, or a WordNet id, a tab and names, or any other key, a tab and a name; keys
    other than WordNet ids are dropped.

    Args:
        name: The file in the model folder, or else the built-in one; `.tsv` and `.txt` are tried
            too.
        model_dir: The model folder.
    """
    path = _find(name, model_dir)
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as exc:
        raise LabelsError(f"{path}: cannot be read as labels: {exc}") from exc
    labels = [_label(path, number, line) for number, line in enumerate(lines, start=1)]
    if not LEAST <= len(labels) <= MOST:
        raise LabelsError(
            f"{path}: has {len(labels)} lines, expected {LEAST} to {MOST}, one a class"
        )
    wnids = Counter(label.wnid for label in labels if label.wnid is not None)
    if wnids and max(wnids.values()) > 1:
        raise LabelsError(f"{path}: has {wnids.most_common(1)[0][0]} twice, expected different ids")
    return tuple(labels)


def network_of(manifest: Manifest, labels: Sequence[Label]) -> VggConfig | None:
    """Return the network of a manifest, with as many classes as labels; None for a ready graph."""
    if manifest.architecture is None:
        return None
    return replace(manifest.architecture, classes=len(labels))


def _find(name: str, model_dir: Path) -> Path:
    tried = [
        folder / f"{name}{suffix}"
        for folder in (model_dir, BUILT_IN)
        for suffix in ("", ".tsv", ".txt")
    ]
    for path in tried:
        if path.is_file():
            return path
    raise LabelsError(
        f"{tried[0]}: there is no such label file, nor {name}.tsv or {name}.txt. Put it into the"
        " model folder: a text file with one name a line, in the order of the network's output"
    )


def _label(path: Path, number: int, line: str) -> Label:
    key, tab, names = line.partition("\t")
    text = (names if tab else key).strip()
    if not text or not text.isprintable() or len(text) > _LONGEST_NAME:
        raise LabelsError(
            f"{path}, line {number}: is {line[:80]!r}, expected the name of class {number - 1}"
        )
    return Label(key if tab and _WNID.fullmatch(key) else None, text)
