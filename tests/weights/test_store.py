"""A graph on disk is the one that was built, whole and unchanged, or it is built again."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.graph.conv_plan import ConvPlan
from app.graph.explain import EXPLAIN_FILE
from app.graph.serving_graph import GRAPH_FILE, STEM_FILE, WEIGHTS_FILE
from app.graph.vgg import VggConfig
from app.records import Explanation
from app.setup_errors import SetupError
from app.weights import store
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.store import RECEIPT_FILE, Recipe, ServingGraph
from tests.conftest import REPOSITORY

GRAPH, WEIGHTS = b"a graph", bytes(range(256)) * 40
SOURCE = "5" * 64
DIGEST = f"sha256:{SOURCE}"
VGG16 = load_catalog(BUILT_IN)["vgg16"]


class Writer:
    """Writes both files, and counts how often it was asked to."""

    def __init__(self, weights: bytes = WEIGHTS) -> None:
        self.weights = weights
        self.folders: list[Path] = []

    def __call__(self, folder: Path) -> None:
        self.folders.append(folder)
        (folder / GRAPH_FILE).write_bytes(GRAPH)
        (folder / WEIGHTS_FILE).write_bytes(self.weights)


def ignore(_step: str, _done: int, _total: int | None) -> None:
    """Take progress and do nothing."""


def recipe(folder: Path, write: Callable[[Path], None] | None = None, **changes: Any) -> Recipe:
    """Want a graph with the usual particulars."""
    made = Recipe(
        folder=folder,
        digest=DIGEST,
        network=VggConfig("D"),
        preprocess=VGG16.preprocess,
        trained=True,
        size=len(WEIGHTS),
        write=write or Writer(),
    )
    return replace(made, **changes)


KEY = recipe(Path()).key
OTHER = "sha256:" + "6" * 64
"""The digest of other weights."""


def make(
    folder: Path, write: Callable[[Path], None], sha256: str | None = SOURCE, **changes: Any
) -> ServingGraph:
    """Build a graph with the usual particulars, unless it is there."""
    wanted = recipe(folder, write, **changes)
    return store.find(wanted, ignore) or store.build(wanted, sha256, ignore)


def find(folder: Path, **changes: Any) -> ServingGraph | None:
    """Look for the graph with the usual particulars."""
    return store.find(recipe(folder, **changes), ignore)


def contents(folder: Path) -> dict[str, list[str]]:
    """List the folders inside a folder with their files."""
    return {
        place.name: sorted(file.name for file in place.iterdir())
        for place in folder.iterdir()
        if place.is_dir()
    }


def test_graphs_for_another_kind_of_processor_stay(tmp_path):
    """Hosts with registers of 256 and of 512 bits share a folder; each builds once, and replaces its own."""
    narrow, wide = ConvPlan("conv2_1", 8), ConvPlan("conv2_1", 16)

    def build(digest: str, plan: ConvPlan, block: int) -> str:
        made = make(tmp_path, Writer(), digest=digest, plan=plan, blocks=frozenset({1, block}))
        return made.path.parent.name

    first, second = build("a", narrow, 8), build("b", wide, 16)
    assert {first, second} == contents(tmp_path).keys()

    third = build("c", wide, 16)
    assert {first, third} == contents(tmp_path).keys()

    fourth = build("d", ConvPlan(), 8)
    assert {third, fourth} == contents(tmp_path).keys()


def test_a_temperature_is_part_of_the_key():
    """Each has a key of its own; that of 1 is the one that graphs had before there were any."""
    keys = [recipe(Path(), temperature=one).key for one in (1.0, 1.07, 2.0)]

    assert 3 == len({*keys})
    assert [KEY, "bfd8404007e90401"] == [keys[0], recipe(Path(), digest="pinned").key]


# --- the good way ----------------------------------------------------------------------


def test_nothing_is_found_before_it_was_built(tmp_path):
    """A folder that is not there holds no graph."""
    assert find(tmp_path / "none") is None


def test_what_was_built_is_found(tmp_path):
    """The built graph is stored under its key, and is found again with all its attributes."""
    built = make(tmp_path / "serving" / "vgg16", Writer())

    place = tmp_path / "serving" / "vgg16" / KEY
    assert ServingGraph(path=place / GRAPH_FILE, weights_sha256=SOURCE, trained=True) == built
    assert built == find(tmp_path / "serving" / "vgg16")
    assert (GRAPH, WEIGHTS) == (
        (place / GRAPH_FILE).read_bytes(),
        (place / WEIGHTS_FILE).read_bytes(),
    )
    assert {KEY: [GRAPH_FILE, RECEIPT_FILE, WEIGHTS_FILE]} == contents(tmp_path / "serving/vgg16")


def test_graph_appears_as_a_whole(tmp_path):
    """The folder that was written is the one that is found, renamed; others may read it too."""
    written = []

    def write(folder: Path) -> None:
        Writer()(folder)
        written.append(folder.stat().st_ino)
        assert not (tmp_path / KEY).exists()

    place = make(tmp_path, write).path.parent

    assert [place.stat().st_ino] == written
    (tmp_path / "beside").mkdir()
    assert (tmp_path / "beside").stat().st_mode == place.stat().st_mode


beside = pytest.mark.parametrize("name", [STEM_FILE, EXPLAIN_FILE])


def with_another(folder: Path, name: str) -> ServingGraph:
    """Build a graph that has another beside it."""
    write = Writer()

    def write_both(place: Path) -> None:
        write(place)
        (place / name).write_bytes(b"other graph")

    return make(folder, write_both)


@beside
def test_another_graph_belongs_to_its_graph(tmp_path, name):
    """A stem or one that explains is beside the graph, and in the receipt."""
    built = with_another(tmp_path, name)

    assert built == find(tmp_path)
    assert b"other graph" == built.path.with_name(name).read_bytes()


@beside
@pytest.mark.parametrize("damage", [b"damage", None])
def test_a_damaged_graph_beside_is_none(tmp_path, damage, name):
    """Changed or gone: the graph is not there."""
    other = with_another(tmp_path, name).path.with_name(name)
    other.unlink() if damage is None else other.write_bytes(damage)

    assert find(tmp_path) is None


@beside
def test_another_graph_that_came_by_itself_is_a_damage(tmp_path, name):
    """The session would load it: a graph without one must stay without."""
    make(tmp_path, Writer()).path.with_name(name).write_bytes(b"other graph")

    assert find(tmp_path) is None


def test_second_build_writes_nothing(tmp_path):
    """What is there and intact is taken."""
    write = Writer()
    first = make(tmp_path, write)

    assert first == make(tmp_path, write)
    assert 1 == len(write.folders)


def test_own_digest_where_there_is_no_source(tmp_path):
    """Weights without a published file are named by their own SHA-256."""
    built = make(tmp_path, Writer(), sha256=None, trained=False)

    expected = hashlib.sha256(WEIGHTS).hexdigest()
    assert (expected, False) == (built.weights_sha256, built.trained)
    assert built == find(tmp_path, trained=False)


def test_old_keys_go(tmp_path):
    """A newer graph takes the place of older ones and of leftovers of builds that were killed."""
    make(tmp_path, Writer())
    (tmp_path / ".building-killed").mkdir()
    (tmp_path / ".building-killed" / WEIGHTS_FILE).write_bytes(b"half")

    make(tmp_path, Writer(b"others"), digest=OTHER)

    assert [recipe(tmp_path, digest=OTHER).key] == list(contents(tmp_path))
    assert find(tmp_path) is None


def test_verifying_reports_progress(tmp_path):
    """Progress is reported for the 553 MB that are read again."""
    make(tmp_path, Writer())
    calls: list[tuple[int, int | None]] = []

    store.find(recipe(tmp_path), lambda _step, done, total: calls.append((done, total)))

    assert (len(GRAPH), len(GRAPH)) in calls
    assert (len(WEIGHTS), len(WEIGHTS)) == calls[-1]


# --- damage ----------------------------------------------------------------------------


def flip(name: str, position: int) -> Callable[[Path], None]:
    """Make what flips one bit of a file."""

    def damage(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        content[position] ^= 1
        (place / name).write_bytes(content)

    return damage


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Make what changes the content of a file."""

    def damage(place: Path) -> None:
        (place / name).write_bytes(change((place / name).read_bytes()))

    return damage


def edit(**changes: object) -> Callable[[Path], None]:
    """Make what changes entries of the receipt."""
    return rewrite(RECEIPT_FILE, lambda text: json.dumps(json.loads(text) | changes).encode())


DAMAGES = {
    "first bit of the graph": flip(GRAPH_FILE, 0),
    "last bit of the graph": flip(GRAPH_FILE, -1),
    "first bit of the weights": flip(WEIGHTS_FILE, 0),
    "middle of the weights": flip(WEIGHTS_FILE, 5000),
    "last bit of the weights": flip(WEIGHTS_FILE, -1),
    "weights cut": rewrite(WEIGHTS_FILE, lambda content: content[:-1]),
    "weights longer": rewrite(WEIGHTS_FILE, lambda content: content + b"\0"),
    "weights empty": rewrite(WEIGHTS_FILE, lambda _: b""),
    "receipt cut": rewrite(RECEIPT_FILE, lambda content: content[:40]),
    "receipt empty": rewrite(RECEIPT_FILE, lambda _: b""),
    "receipt a list": rewrite(RECEIPT_FILE, lambda _: b"[]"),
    "receipt a number": rewrite(RECEIPT_FILE, lambda _: b"7"),
    "receipt binary": rewrite(RECEIPT_FILE, lambda _: b"\xff\xfe"),
    "receipt without files": edit(files={}),
    "receipt with other files": edit(files=None),
    "receipt without a digest": rewrite(RECEIPT_FILE, lambda t: t.replace(b"weights_sha", b"x")),
    "graph gone": lambda place: (place / GRAPH_FILE).unlink(),
    "weights gone": lambda place: (place / WEIGHTS_FILE).unlink(),
    "receipt gone": lambda place: (place / RECEIPT_FILE).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_graph_is_not_found_and_is_built_again(tmp_path, damage):
    """One flipped bit, a cut receipt or a missing file: it is never served, and is built again at once."""
    built = make(tmp_path, Writer())
    damage(tmp_path / KEY)

    assert find(tmp_path) is None

    write = Writer()
    assert built == make(tmp_path, write)
    assert 1 == len(write.folders)
    assert built == find(tmp_path)
    assert {KEY: [GRAPH_FILE, RECEIPT_FILE, WEIGHTS_FILE]} == contents(tmp_path)


def test_damage_is_logged(tmp_path, caplog):
    """A disk that flips bits should not do so in silence."""
    make(tmp_path, Writer())
    flip(WEIGHTS_FILE, 9)(tmp_path / KEY)

    find(tmp_path)

    assert [f"{tmp_path / KEY} is damaged and will be built again"] == caplog.messages


# --- interruptions ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError, SystemExit])
def test_interrupted_build_leaves_nothing(tmp_path, error):
    """However a build ends, half a graph is not found, and takes no room."""

    def write(folder: Path) -> None:
        (folder / GRAPH_FILE).write_bytes(GRAPH)
        (folder / WEIGHTS_FILE).write_bytes(WEIGHTS[:100])
        raise error

    with pytest.raises(error):
        make(tmp_path, write)

    assert find(tmp_path) is None
    assert {} == contents(tmp_path)


def test_interrupted_build_leaves_the_old_graph(tmp_path):
    """An update that fails does not take away what was there."""
    old = make(tmp_path, Writer())

    def write(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, write, digest=OTHER)

    assert old == find(tmp_path)


@pytest.mark.parametrize("moved", [[], [GRAPH_FILE], [RECEIPT_FILE], [WEIGHTS_FILE, RECEIPT_FILE]])
def test_killed_while_moving_into_place(tmp_path, moved):
    """Whichever of the files had arrived when the power went, it is no graph."""
    built = make(tmp_path, Writer())
    for path in (tmp_path / KEY).iterdir():
        if path.name not in moved:
            path.unlink()

    assert find(tmp_path) is None
    assert built == make(tmp_path, Writer())


def test_writer_that_forgets_a_file(tmp_path):
    """A graph without its weights is not put into place."""

    def write(folder: Path) -> None:
        (folder / GRAPH_FILE).write_bytes(GRAPH)

    with pytest.raises(SetupError):
        make(tmp_path, write)

    assert find(tmp_path) is None


def test_full_disk_is_refused_before_anything_is_written(tmp_path):
    """What does not fit is not begun, and the sentence has both numbers."""
    write = Writer()

    with pytest.raises(SetupError, match=r"needs 10000000000\d\d MB, \d+ MB are free"):
        make(tmp_path, write, size=10**18)

    assert ([], {}) == (write.folders, contents(tmp_path))


def test_full_disk_counts_what_a_damaged_graph_gives_back(tmp_path):
    """A damaged graph goes before room is looked for."""
    make(tmp_path, Writer())
    flip(WEIGHTS_FILE, 0)(tmp_path / KEY)

    with pytest.raises(SetupError, match="MB are free"):
        make(tmp_path, Writer(), size=10**18)

    assert {} == contents(tmp_path)


def test_folder_that_cannot_be_made(tmp_path):
    """A file where the folder should be is an OSError, which the caller words."""
    (tmp_path / "serving").write_text("")

    with pytest.raises(OSError, match="serving"):
        make(tmp_path / "serving" / "vgg16", Writer())


# --- several at a time -----------------------------------------------------------------


def test_threads_build_once(tmp_path):
    """Four that come at the same time: one builds, the others get what it built."""
    write, together = Writer(), threading.Barrier(4, timeout=10)

    def start(_number: int) -> ServingGraph:
        together.wait()
        return make(tmp_path, write)

    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(start, range(4)))

    assert 1 == len(write.folders)
    assert 1 == len(set(graphs))


CHILD = """
import sys
from pathlib import Path
from app.graph.vgg import VggConfig
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.store import Recipe, build
folder = Path(sys.argv[1])

def write(place):
    with (folder.parent / "builds").open("a") as log:
        log.write("child\\n")
    (place / "graph.onnx").write_bytes(b"of the child")
    (place / "weights.bin").write_bytes(b"of the child")

print("ready", flush=True)
sys.stdin.readline()
preprocess = load_catalog(BUILT_IN)["vgg16"].preprocess
recipe = Recipe(folder, sys.argv[2], VggConfig("D"), preprocess, True, 1, write)
graph = build(recipe, "5" * 64, lambda step, done, total: None)
print(graph.path.read_bytes().decode())
"""


def test_processes_build_once(tmp_path):
    """Another process that wants the same graph waits for it and takes it."""
    folder = tmp_path / "vgg16"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), DIGEST],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        go, answers = child.stdin, child.stdout
        assert go is not None
        assert answers is not None
        assert "ready\n" == answers.readline()

        def write(place: Path) -> None:
            go.write("go\n")
            go.flush()  # it comes to the lock during this build
            Writer()(place)

        built = make(folder, write)
        answer = answers.read()

    assert (0, "a graph\n") == (child.returncode, answer)
    assert not (tmp_path / "builds").exists()
    assert built == find(folder)


# --- keys ------------------------------------------------------------------------------


def test_key_is_a_short_name():
    """16 hex digits, the same each time."""
    assert 16 == len(KEY)
    assert int(KEY, 16) >= 0
    assert KEY == recipe(Path("elsewhere"), Writer(), trained=False, size=1).key


def test_key_does_not_change_with_a_threshold():
    """It is in no graph: another one builds nothing again."""
    explanations = [Explanation("grad-cam", ("conv5_3",), threshold) for threshold in (0.1, 0.2)]

    one, other = (recipe(Path(), explanation=explanation).key for explanation in explanations)

    assert one == other


def test_key_changes_with_all_that_a_graph_depends_on():
    """Other weights, another architecture, precision or plan, or any change of the preprocessing."""
    plain = VGG16.preprocess
    changes: list[dict[str, Any]] = [
        {},
        {"digest": f"sha256:{'6' * 64}"},
        {"digest": f"sha384:{SOURCE}"},
        {"network": VggConfig("E")},
        {"network": None},
        {"preprocess": replace(plain, resize=257)},
        {"preprocess": replace(plain, crop=256)},
        {"preprocess": replace(plain, channels="BGR")},
        {"preprocess": replace(plain, mean=plain.mean[::-1])},
        {"preprocess": replace(plain, std=(*plain.std[:2], 57.376))},
        {"precision": "float16"},
        {"explanation": Explanation("grad-cam", ("conv5_3",))},
        {"explanation": Explanation("layer-cam", ("conv5_3",))},
        {"explanation": Explanation("layer-cam", ("pool4", "conv5_3"))},
        {"plan": ConvPlan("conv4_1")},
        {"plan": ConvPlan("conv2_1")},
    ]

    keys = [recipe(Path(), **change).key for change in changes]

    assert len(keys) == len(set(keys))


def test_receipt_cannot_be_changed(tmp_path):
    """A receipt that names other weights than those it was written for is not accepted."""
    make(tmp_path, Writer())
    receipt = tmp_path / KEY / RECEIPT_FILE
    receipt.write_text(receipt.read_text().replace('"weights_sha256": "', '"weights_sha256": "f'))

    assert find(tmp_path) is None
