"""The names of the classes, in the order of the network's output."""

import re
from pathlib import Path

from app.errors import LabelsError
from app.graph.vgg import CLASSES
from app.records import Label
from app.weights.manifests import BUILT_IN

_LINE = re.compile(r"(n\d{8})\t(\S.*)")


def load_labels(name: str, model_dir: Path) -> tuple[Label, ...]:
    """Read `NAME.tsv` from the model folder, or else the built-in one.

    Each line is a WordNet id, a tab and the names; line i is class i - 1. Lines are sorted by
    WordNet id, the order of torchvision, Keras, Caffe and the ONNX Model Zoo.
    """
    own, built_in = model_dir / f"{name}.tsv", BUILT_IN / f"{name}.tsv"
    path = own if own.exists() else built_in
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise LabelsError(
            f"cannot read the labels {name!r} from {own} or {built_in}: {exc}"
        ) from exc
    labels = []
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise LabelsError(
                f"{path}, line {number}: is {line[:80]!r}, expected 'n01440764<tab>names'"
            )
        labels.append(Label(wnid=match[1], text=match[2]))
    if len({label.wnid for label in labels}) != CLASSES or len(labels) != CLASSES:
        raise LabelsError(f"{path}: has {len(labels)} lines, expected {CLASSES} with different ids")
    return tuple(labels)
