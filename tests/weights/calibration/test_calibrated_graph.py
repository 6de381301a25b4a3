"""An int8 graph is whole, compared with float32 and near to it, or it is not kept at all."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.graph.int8.calibration import PROBE_FILE
from app.graph.serving_graph import GRAPH_FILE, OUTPUT
from app.machine import sums_bytes
from app.runtime.open_session import open_session
from app.runtime.ort import open_probe
from app.serving.ask_classifier import ask_classifier
from app.setup_errors import CalibrationError, DownloadError, SessionError
from app.weights.calibration.agreement import read_agreement
from app.weights.calibration.photos import find_photos
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.provisioning import Calibration, Provisioning, for_device
from app.weights.pull import pull
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(not sums_bytes(), reason="this processor does not sum bytes")

MINI = load_catalog(BUILT_IN)["vgg16-mini"]
SAMPLES = tuple(sorted((REPOSITORY / "app/web/page/static/samples").glob("*.jpg")))


class Prober:
    """Loads graphs as the service does, and records which; tests change what they answer."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.change = lambda outputs: outputs

    def __call__(self, graph: Path) -> Any:
        self.opened.append(graph.name)
        run = open_probe(graph, threads=1)
        return (lambda batch: self.change(run(batch))) if graph.name == GRAPH_FILE else run


def provisioning(tmp_path, prober, folder=None, **options):
    """Want int8 graphs in a folder."""
    calibration = Calibration(prober, SAMPLES, folder)
    sources = Provisioning(tmp_path, ask_classifier, calibration=calibration, **options)
    return for_device(sources, "cpu", "int8")


def get(tmp_path, prober, folder=None, progress=lambda *_: None, wanted=MINI):
    """Pull the small trained model in int8."""
    return pull(wanted, provisioning(tmp_path, prober, folder), progress)


def places(tmp_path):
    """List what is in the folder of the graph, apart from the lock."""
    folder = tmp_path / "serving" / "vgg16-mini.int8"
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def photos(folder: Path, count: int) -> Path:
    """Make a folder of the first samples."""
    folder.mkdir()
    for sample in SAMPLES[:count]:
        (folder / sample.name).write_bytes(sample.read_bytes())
    return folder


def test_a_graph_is_made_once_with_its_proof(tmp_path):
    """Both graphs are run once, the float32 one is gone afterwards, and the next start runs none."""
    prober, steps = Prober(), []
    graph = get(tmp_path, prober, progress=lambda *step: steps.append(step))
    agreement = read_agreement(graph.path.parent)
    again = get(tmp_path, prober)

    assert ("int8", True) == (graph.precision, graph.trained)
    assert graph == again
    assert [PROBE_FILE, GRAPH_FILE] == prober.opened
    assert [graph.path.parent.name] == places(tmp_path)
    assert {"agreement.json", "graph.onnx", "ranges.npz", "receipt.json", "weights.bin"} == {
        path.name for path in graph.path.parent.iterdir()
    }
    assert agreement is not None
    assert ("6 built-in samples", 72, 18) == (
        agreement.source,
        agreement.calibrated,
        agreement.held_back,
    )
    assert agreement.same_first >= 0.9
    assert [("calibrating", done, 180) for done in range(1, 181)] == [
        step for step in steps if step[0] == "calibrating"
    ]


def test_the_numbers_are_those_of_the_graph(tmp_path):
    """The largest difference of a probability is found again by running both graphs."""
    graph = get(tmp_path, Prober())
    exact = pull(MINI, Provisioning(tmp_path, ask_classifier), lambda *_: None)
    images = find_photos(None, SAMPLES).read(MINI.preprocess)[0].images
    run = [open_session(one.path, device="cpu").run(images) for one in (exact, graph)]
    agreement = read_agreement(graph.path.parent)

    assert agreement is not None
    assert 0 < np.abs(run[0] - run[1]).max() <= agreement.largest_difference + 1e-6


def test_photos_of_a_folder_make_another_graph(tmp_path):
    """It replaces the one of the samples, says its source, and stays when no folder is named any more."""
    first = get(tmp_path, Prober())
    folder = photos(tmp_path / "photos", 2)
    second = get(tmp_path, Prober(), folder)
    prober = Prober()
    third = get(tmp_path, prober)

    assert first.path != second.path
    assert [second.path.parent.name] == places(tmp_path)
    assert "2 photos of a folder" == read_agreement(second.path.parent).source  # type: ignore[union-attr] # it is there
    assert second == third
    assert [] == prober.opened


def test_another_photo_in_the_folder_calibrates_again(tmp_path):
    """The digest of the photos is part of the key."""
    folder = photos(tmp_path / "photos", 2)
    first = get(tmp_path, Prober(), folder)
    (folder / SAMPLES[2].name).write_bytes(SAMPLES[2].read_bytes())

    assert first.path != get(tmp_path, Prober(), folder).path


def test_answers_too_far_from_float32(tmp_path):
    """Trained weights whose int8 graph answers otherwise are not served, and nothing of it stays."""
    prober = Prober()
    prober.change = lambda outputs: {OUTPUT: outputs[OUTPUT][:, ::-1]}

    with pytest.raises(CalibrationError, match=r"VGG_CALIBRATION_DIR.*VGG_PRECISION=float32"):
        get(tmp_path, prober)
    assert [] == places(tmp_path)


def test_untrained_weights_need_not_agree(tmp_path):
    """Their answers mean nothing in float32 either."""
    prober = Prober()
    prober.change = lambda outputs: {OUTPUT: outputs[OUTPUT][:, ::-1]}
    graph = get(tmp_path, prober, wanted=replace(MINI, trained=False))

    assert not graph.trained


def test_interrupted(tmp_path):
    """Ctrl-C while calibrating leaves nothing half-written, and the next start makes the graph."""
    prober = Prober()

    def interrupt(_outputs):
        raise KeyboardInterrupt

    prober.change = interrupt
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, prober)
    assert [] == places(tmp_path)

    assert "int8" == get(tmp_path, Prober()).precision


def test_killed(tmp_path):
    """What a killed process left is swept away by the next."""
    left = tmp_path / "serving/vgg16-mini.int8/.building/.float32"
    left.mkdir(parents=True)
    (left / "weights.bin").write_bytes(bytes(1000))

    graph = get(tmp_path, Prober())

    assert [graph.path.parent.name] == places(tmp_path)


def test_two_starts_at_the_same_time(tmp_path):
    """One calibrates, the other waits and takes what it made."""
    prober = Prober()
    with ThreadPoolExecutor(2) as pool:
        graphs = list(pool.map(lambda _: get(tmp_path, prober), range(2)))

    assert graphs[0] == graphs[1]
    assert [PROBE_FILE, GRAPH_FILE] == prober.opened


def test_a_damaged_graph_is_made_again(tmp_path):
    """A changed bit of its ranges, its weights or its proof is noticed."""
    graph = get(tmp_path, Prober())
    for name in ("ranges.npz", "weights.bin", "agreement.json"):
        file = graph.path.with_name(name)
        file.write_bytes(b"x" + file.read_bytes()[1:])
        prober = Prober()
        get(tmp_path, prober)

        assert [PROBE_FILE, GRAPH_FILE] == prober.opened


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_without_photos_ends_it_before_anything_is_built(tmp_path, kind):
    """The sentence names the folder."""
    folder = tmp_path / "photos"
    if kind == "empty":
        folder.mkdir()

    with pytest.raises(CalibrationError, match=re.escape(str(folder))):
        get(tmp_path, Prober(), folder)
    assert not (tmp_path / "serving").exists()


def test_where_int8_is_not_offered(tmp_path):
    """On CUDA, and on a processor that does not sum bytes, one sentence says what to set."""
    slow = Provisioning(
        tmp_path, ask_classifier, calibration=Calibration(Prober(), SAMPLES, fast=False)
    )

    with pytest.raises(SessionError, match=r"VNNI or AMX.*VGG_PRECISION=float32"):
        for_device(slow, "cpu", "int8")
    with pytest.raises(SessionError, match=r"is for a CPU.*VGG_PRECISION=float16.*VGG_DEVICE=cpu"):
        for_device(provisioning(tmp_path, Prober()), "cuda", "int8")
    assert "float32" == for_device(slow, "cpu", "auto").precision


def test_a_ready_graph_keeps_its_numbers(tmp_path, caplog):
    """It is looked for as for any precision, and the log says that it is left as it is."""
    caplog.set_level("INFO")
    ready = replace(MINI, architecture=None, checkpoint=None, onnx="ready.onnx")

    with pytest.raises(DownloadError, match=r"ready\.onnx is missing"):
        get(tmp_path, Prober(), wanted=ready)
    assert "VGG_PRECISION=int8 leaves as it is" in caplog.text


def test_a_folder_that_can_only_be_read(tmp_path):
    """A graph that was calibrated ahead is served from a folder that nobody may write."""
    graph = get(tmp_path, Prober(), photos(tmp_path / "photos", 2))
    for path in (tmp_path / "serving" / "vgg16-mini.int8", tmp_path / "serving"):
        path.chmod(0o555)
    try:
        assert graph == get(tmp_path, Prober())
    finally:
        for path in (tmp_path / "serving", tmp_path / "serving" / "vgg16-mini.int8"):
            path.chmod(0o755)
