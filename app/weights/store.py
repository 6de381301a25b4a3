"""Serving graphs on disk: built once, found again, never half-written, checked at each start.

FOLDER/KEY/graph.onnx  stem.onnx  explain.onnx  weights.bin  own_answers.npz  ranges.npz
           agreement.json  receipt.json

KEY is made of everything that a graph depends on, so that a changed manifest, another
checkpoint or a newer builder never meets an old graph. The receipt holds the SHA-256 of all
files, since onnxruntime loads flipped bits without an error. Not every graph has a stem; a
ready graph has the answers of the classifier that it was made from, and none that explains; only an
int8 graph has its ranges, and how far it agrees with float32.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from filelock import FileLock

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.explain import EXPLAIN_FILE
from app.graph.float16 import Precision
from app.graph.int8.calibration import RANGES_FILE
from app.graph.own_answers import ANSWERS_FILE
from app.graph.serving_graph import GRAPH_FILE, GRAPH_VERSION, STEM_FILE, WEIGHTS_FILE
from app.graph.vgg import VggConfig
from app.records import Explanation, Preprocess, Progress
from app.setup_errors import DownloadError, SetupError
from app.weights.calibration.agreement import AGREEMENT_FILE
from app.weights.download.part_file import hash_file

log = logging.getLogger(__name__)

RECEIPT_FILE: Final = "receipt.json"
_BUILDING: Final = ".building"
"""A folder that is renamed once it is whole."""
_SPARE_BYTES: Final = 64 * 2**20
"""Stay free on the disk after a graph was written."""


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """A verified graph, ready to be loaded.

    Attributes:
        path: GRAPH_FILE; its weights are beside it.
        weights_sha256: 64 hex digits: of the published file that it was made from, or, where
            there is none, of its own weights.
        trained: False for weights that never saw an image.
    """

    path: Path
    weights_sha256: str
    trained: bool
    precision: Precision = "float32"
    plan: ConvPlan = DIRECT


@dataclass(frozen=True, slots=True)
class Recipe:
    """A serving graph that is wanted, and how to make it.

    Attributes:
        folder: The folder of one model; made if it is not there.
        digest: What tells the weights from all others.
        network: What the graph computes; None for a ready graph.
        size: About how many bytes will be written.
        write: Puts GRAPH_FILE and WEIGHTS_FILE into the folder that it is given.
        explanation: How its answers are explained; None for a ready graph.
        temperature: Divides its logits before softmax.
        blocks: The blocks of all plans that this host can run (see `ConvPlan.block`).
        photos: SHA-256 of what it is calibrated with; empty for a graph that is not.
        any_photos: Whether a graph that was calibrated with others will do.
    """

    folder: Path
    digest: str
    network: VggConfig | None
    preprocess: Preprocess
    trained: bool
    size: int
    write: Callable[[Path], None]
    precision: Precision = "float32"
    plan: ConvPlan = DIRECT
    explanation: Explanation | None = None
    temperature: float = 1.0
    blocks: frozenset[int] = frozenset({1})
    photos: str = ""
    any_photos: bool = False

    @property
    def key(self) -> str:
        """Everything that the graph depends on, in 16 hex digits."""
        made = [GRAPH_VERSION, self.digest, self.network and asdict(self.network)]
        made += [asdict(self.preprocess), self.precision, asdict(self.plan)]
        if self.explanation is not None:  # its threshold is in no graph
            made += [self.explanation.method, self.explanation.layers]
        if self.temperature != 1:  # without one, graphs that are there stay
            made.append({"temperature": self.temperature})
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]

    @property
    def place(self) -> Path:
        """The folder of the graph; which photos it was calibrated with is the end of its name."""
        return self.folder / (f"{self.key}-{self.photos[:16]}" if self.photos else self.key)

    def places(self) -> list[Path]:
        """List the folders of all graphs there are that will do."""
        others = sorted(self.folder.glob(f"{self.key}-*")) if self.any_photos else []
        return [place for place in dict.fromkeys((self.place, *others)) if place.exists()]


def find(recipe: Recipe, progress: Progress) -> ServingGraph | None:
    """Return the graph, verified; None if it is not there, or is damaged."""
    found = (_verified(recipe, place, partial(progress, "verifying")) for place in recipe.places())
    return next((graph for graph in found if graph is not None), None)


def _verified(
    recipe: Recipe, place: Path, verifying: Callable[[int, int | None], None]
) -> ServingGraph | None:
    try:
        receipt = json.loads((place / RECEIPT_FILE).read_text(encoding="utf-8"))
        intact = receipt.pop("sha256") == _digest(receipt) and all(
            hash_file(place / name, None, verifying).digest == receipt["files"][name]
            for name in dict.fromkeys([*_files(place), *receipt["files"]])
        )
        if intact:
            return _graph(recipe, place, str(receipt["weights_sha256"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, DownloadError):
        pass
    log.warning("%s is damaged and will be built again", place)
    return None


def build(recipe: Recipe, weights_sha256: str | None, progress: Progress) -> ServingGraph:
    """Write a graph into a new folder and rename that into place; graphs of other keys go.

    Those for another kind of processor, which may share the folder, stay: each of its hosts
    would delete the others' graphs at each start.

    Args:
        recipe: The graph that is wanted.
        weights_sha256: Hex digits of the published file; None to take those of its own weights.
        progress: Called while it is built and verified.

    Raises:
        SetupError: If the disk has no room.
        OSError: If the folder cannot be written.
    """
    folder, place = recipe.folder, recipe.place
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        built = find(recipe, progress)  # by another process meanwhile
        if built is not None:
            return built
        building = folder / _BUILDING
        for left in (place, building):  # damaged; by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        needed, free = recipe.size + _SPARE_BYTES, shutil.disk_usage(folder).free
        if free < needed:
            raise SetupError(
                f"{folder}: the serving graph needs {needed // 10**6} MB,"
                f" {free // 10**6} MB are free"
            )
        building.mkdir()
        try:
            progress("building", 0, None)
            recipe.write(building)
            hashed = partial(hash_file, pinned=None, progress=partial(progress, "verifying"))
            files = {name: hashed(building / name).digest for name in _files(building)}
            sha256 = weights_sha256 or files[WEIGHTS_FILE].removeprefix("sha256:")
            receipt = {"weights_sha256": sha256, "files": files, "block": recipe.plan.block}
            text = json.dumps(receipt | {"sha256": _digest(receipt)}, indent=2)
            (building / RECEIPT_FILE).write_text(text, encoding="utf-8")
            building.rename(place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        for old in folder.iterdir():
            if old.is_dir() and old != place and _block(old) in recipe.blocks:
                shutil.rmtree(old)
    return _graph(recipe, place, sha256)


def _graph(recipe: Recipe, place: Path, sha256: str) -> ServingGraph:
    path = place / GRAPH_FILE
    return ServingGraph(path, sha256, recipe.trained, recipe.precision, recipe.plan)


def _block(place: Path) -> object:
    """Return the block of a graph's plan; 1 if the graph is older than blocks, or damaged."""
    try:
        return json.loads((place / RECEIPT_FILE).read_text(encoding="utf-8")).get("block", 1)
    except (OSError, ValueError, AttributeError):
        return 1


def _files(place: Path) -> list[str]:
    """Name the files of a graph; one beside it that no receipt knows would be loaded."""
    known = STEM_FILE, EXPLAIN_FILE, ANSWERS_FILE, RANGES_FILE, AGREEMENT_FILE
    some = [name for name in known if (place / name).exists()]
    return [GRAPH_FILE, *some, WEIGHTS_FILE]


def _digest(receipt: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest()
