"""Which models there are: the manifests, `NAME.toml`, are read here, and their mistakes named."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.graph.explain import explainable, resolved
from app.graph.vgg import ARCHITECTURES
from app.records import Explanation
from app.setup_errors import ManifestError
from app.texts import read_text
from app.weights.manifests.manifest import (
    TABLES,
    Manifest,
)

_PACKAGE: Final = Path(__file__).resolve().parents[2]
INSTALLED: Final = (_PACKAGE / "models").is_dir()
"""Whether this is a wheel, which has models/ inside the package; a checkout and the image have it beside."""
BUILT_IN: Final = (_PACKAGE if INSTALLED else _PACKAGE.parent) / "models"
"""The manifests and labels that come with the service."""

_LONGEST_VALUE: Final = 100
"""Characters of a value in an error sentence."""


def load_catalog(model_dir: Path) -> dict[str, Manifest]:
    """Read the built-in manifests and those of `model_dir`, which win on the same name."""
    paths = [
        path
        for folder in (BUILT_IN, model_dir)
        for path in sorted(folder.glob("*.toml"))
        if not path.name.startswith(".")  # what macOS and editors leave beside a file
    ]
    return {path.stem: read_manifest(path) for path in paths}


def find_file(name: str, model_dir: Path) -> Path:
    """Return the place of a file: the model folder, unless it came with the service."""
    own, built_in = model_dir / name, BUILT_IN / name
    return built_in if built_in.exists() and not own.exists() else own


def read_manifest(path: Path) -> Manifest:
    """Read one manifest; a ManifestError names the key, its value and what was expected."""
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as exc:  # also a number of 5000 digits
        raise ManifestError(path, "", f"cannot be read as TOML: {exc}") from exc
    if "path" in content:
        raise _wrong(path, content, ("path",))
    checkpoint = content.get("checkpoint")
    if isinstance(checkpoint, dict) and "url" in checkpoint:
        # Many publishers call their file model.safetensors.
        last = re.split("[?#]", str(checkpoint["url"]))[0].rpartition("/")[2]
        checkpoint.setdefault("file", re.sub(r"[^A-Za-z0-9._-]", "_", f"{path.stem}-{last}")[:200])
    try:
        manifest = TypeAdapter(Manifest).validate_python({"path": path, **content})
    except ValidationError as exc:
        raise _wrong(path, content, exc.errors()[0]["loc"]) from exc
    for key, problem in _contradictions(manifest):
        raise ManifestError(path, key, problem)
    if manifest.architecture is None:
        return manifest
    explanation = resolved(manifest.explanation or Explanation(), manifest.architecture)
    return replace(manifest, explanation=explanation)


def _wrong(path: Path, table: Any, place: tuple[int | str, ...]) -> ManifestError:  # noqa: ANN401 (TOML)
    """Make a sentence about what pydantic found wrong at a place."""
    *tables, key = (part for part in place if isinstance(part, str))
    model: Any = Manifest
    for name in tables:
        table = table[name]
        model = TABLES[name]
    if isinstance(table, list):  # of [[external]]
        table = table[next(part for part in place if isinstance(part, int))]
    fields = {field.alias or name: field for name, field in model.__pydantic_fields__.items()}
    if key not in fields or key == "path":
        known = ", ".join(sorted(fields.keys() - {"path"}))
        problem = f"is not known here, expected one of: {known}"
    else:
        found = _shown(table[key]) if key in table else "missing"
        problem = f"is {found}, expected {fields[key].description}"
    return ManifestError(path, ".".join([*tables, key]), problem)


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _contradictions(manifest: Manifest) -> Iterable[tuple[str, str]]:
    """Yield the key and the problem of each broken rule about several values."""
    name, stem = manifest.name, manifest.path.stem
    if name != stem:
        yield "name", f"is {name!r}, expected {stem!r}, the name of the file"
    if (manifest.onnx is None) == (manifest.checkpoint is None):
        yield "checkpoint", "expected either a table [checkpoint] or a key onnx, not both"
    if manifest.external and manifest.checkpoint and manifest.checkpoint.format != "onnx":
        yield "external", "only for an ONNX file"
    names = [one.file for one in manifest.external]
    if len(set(names)) < len(names):
        yield "external", "has a file twice"
    if manifest.onnx is None:
        yield from _of_checkpoint(manifest)
    elif manifest.architecture is not None:
        yield "architecture", "only for a [checkpoint]; a ready graph has its own"
    elif manifest.explanation is not None:
        yield "explanation", "only for a [checkpoint]; the answers of a ready graph have none"


def _of_checkpoint(manifest: Manifest) -> Iterable[tuple[str, str]]:
    if manifest.architecture is None:
        yield "architecture", f"is missing, expected one of {', '.join(ARCHITECTURES)}"
        return
    for key in ("url", "size", "sha256", "sha384"):
        if getattr(manifest, key) is not None:
            yield key, "only for a ready graph; expected in [checkpoint]"
    crop, side = manifest.preprocess.crop, manifest.architecture.side
    if crop != side:
        yield "preprocess.crop", f"is {crop}, expected {side}, the side of this network"
    known = [row.name for row in explainable(manifest.architecture)]
    layers = manifest.explanation.layers if manifest.explanation else ()
    if not set(layers) <= set(known):
        shown = ", ".join(known)
        yield "explanation.layers", f"is {list(layers)}, expected some of {shown}"
