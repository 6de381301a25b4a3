"""Serving graphs on disk: built once, found again, never half-written, checked at each start.

FOLDER/KEY/graph.onnx  stem.onnx  weights.bin  receipt.json

KEY is made of everything that a graph depends on, so that a changed manifest, another
checkpoint or a newer builder never meets an old graph. The receipt holds the SHA-256 of all
files: onnxruntime loads flipped bits without a word. Not every graph has a stem.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from filelock import FileLock

from app.errors import DownloadError, SetupError
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.float16 import Precision
from app.graph.serving_graph import GRAPH_FILE, GRAPH_VERSION, STEM_FILE, WEIGHTS_FILE
from app.weights.download.digest import Progress, digest_of
from app.weights.manifests import Manifest

log = logging.getLogger(__name__)

RECEIPT_FILE: Final = "receipt.json"
_SPARE_BYTES: Final = 64 * 2**20
"""Stay free on the disk after a graph was written."""


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """A verified graph, ready to be loaded.

    Attributes:
        path: Of GRAPH_FILE; its weights lie beside it.
        weights_sha256: 64 hex digits: of the published file that it was made from, or, where
            there is none, of its own weights.
        trained: False for weights that never saw an image.
        precision: Of its layers.
        plan: How its convolutions are computed.
    """

    path: Path
    weights_sha256: str
    trained: bool
    precision: Precision = "float32"
    plan: ConvPlan = DIRECT


Look: TypeAlias = Callable[[ConvPlan], ServingGraph | None]
"""Finds the graph of a plan."""


def graph_key(
    manifest: Manifest, digest: str, precision: Precision = "float32", plan: ConvPlan = DIRECT
) -> str:
    """Name everything that a graph depends on in 16 hex digits.

    Args:
        manifest: Whose architecture and preprocessing go into the graph.
        digest: What tells the weights from all others.
        precision: Of the layers.
        plan: How its convolutions are computed.
    """
    made = (digest, manifest.architecture, asdict(manifest.preprocess), precision, asdict(plan))
    return hashlib.sha256(json.dumps([GRAPH_VERSION, *made]).encode()).hexdigest()[:16]


def find(folder: Path, key: str, *, trained: bool, progress: Progress) -> ServingGraph | None:
    """Return the graph of this key; None if it is not there, or is damaged.

    Args:
        folder: Of one model.
        key: From `graph_key`.
        trained: What the manifest says of its weights.
        progress: Told how much is verified.
    """
    place = folder / key
    try:
        receipt = json.loads((place / RECEIPT_FILE).read_text(encoding="utf-8"))
        intact = receipt.pop("sha256") == _digest(receipt) and all(
            digest_of(place / name, progress=progress) == receipt["files"][name]
            for name in dict.fromkeys([*_files(place), *receipt["files"]])
        )
        graph = ServingGraph(
            path=place / GRAPH_FILE,
            weights_sha256=str(receipt["weights_sha256"]),
            trained=trained,
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, DownloadError):
        intact = False
    if not intact:
        log.warning("%s is damaged and is built anew", place)
        return None
    return graph


def build(
    folder: Path,
    key: str,
    *,
    size: int,
    weights_sha256: str | None,
    trained: bool,
    write: Callable[[Path], None],
    progress: Progress,
    plans: Sequence[ConvPlan] = (DIRECT,),
) -> ServingGraph:
    """Let `write` fill a new folder and move it into place as a whole; graphs of other keys go.

    Those for another kind of processor, which may share the folder, stay.

    Args:
        folder: Of one model; made if it is not there.
        key: From `graph_key`.
        size: Bytes that will be written, about.
        weights_sha256: None to take that of the written weights.
        trained: What the manifest says of its weights.
        write: Puts GRAPH_FILE and WEIGHTS_FILE into the folder that it is given.
        progress: Told how much is verified, if another process built the graph meanwhile.
        plans: Its own, and then all that can be used here.

    Raises:
        SetupError: If the disk has no room.
        OSError: If the folder cannot be written.
    """
    there = find(folder, key, trained=trained, progress=progress)
    if there is not None:  # asked without the lock first: the folder may be read-only
        return there
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        there = find(folder, key, trained=trained, progress=progress)
        if there is not None:
            return there
        shutil.rmtree(folder / key, ignore_errors=True)  # damaged, or half-moved
        for left in folder.glob(".building-*"):  # by a process that was killed
            shutil.rmtree(left)
        free = shutil.disk_usage(folder).free
        if free < size + _SPARE_BYTES:
            needed = (size + _SPARE_BYTES) // 10**6
            message = (
                f"{folder}: {needed} MB are needed for the serving graph, {free // 10**6} are free"
            )
            raise SetupError(message)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as name:
            place = Path(name)
            write(place)
            files = {name: digest_of(place / name) for name in _files(place)}
            receipt: dict[str, object] = {
                "weights_sha256": weights_sha256 or files[WEIGHTS_FILE].removeprefix("sha256:"),
                "files": files,
                "block": plans[0].block,
            }
            receipt["sha256"] = _digest(receipt)
            (place / RECEIPT_FILE).write_text(json.dumps(receipt, indent=2), encoding="utf-8")
            usable = {1, *(plan.block for plan in plans)}
            for old in folder.iterdir():
                if old.is_dir() and old != place and _block(old) in usable:
                    shutil.rmtree(old)
            (folder / key).mkdir()
            for path in place.iterdir():
                path.rename(folder / key / path.name)
    found = find(folder, key, trained=trained, progress=progress)
    if found is None:
        raise SetupError(f"{folder / key} was written and cannot be read back")
    return found


def find_any(look: Look, plans: Iterable[ConvPlan]) -> ServingGraph | None:
    """Return the graph of the first plan that there is one of."""
    for plan in plans:
        there = look(plan)
        if there is not None:
            return replace(there, plan=plan)
    return None


def or_any(make: Callable[[], ServingGraph], look: Look, plans: Iterable[ConvPlan]) -> ServingGraph:
    """Make a graph; in a folder that cannot be written or is full, one of any plan will do.

    Raises:
        OSError: If the folder cannot be written, and holds none.
        SetupError: If the disk has no room, and the folder holds none.
    """
    try:
        return make()
    except (OSError, SetupError) as exc:
        there = find_any(look, plans)
        if there is None:
            raise
        log.warning("%s: the graph of another plan is served: %s", there.path.parent, exc)
        return there


def _block(place: Path) -> object:
    """Return the block of a graph's plan; 1 of what is older, or damaged."""
    try:
        return json.loads((place / RECEIPT_FILE).read_text(encoding="utf-8")).get("block", 1)
    except (OSError, ValueError, AttributeError):
        return 1


def _files(place: Path) -> list[str]:
    """Name the files of a graph; a stem that no receipt knows is a damage too."""
    stem = [STEM_FILE] if (place / STEM_FILE).exists() else []
    return [GRAPH_FILE, *stem, WEIGHTS_FILE]


def _digest(receipt: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest()
