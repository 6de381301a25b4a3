"""The paper's tests: which options they take, what they average, and for whose weights the paper's figures hold."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from app.evaluation.paper import PaperTest, mean_of_crops, mean_of_scales, paper_figures, read_test
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.whole import whole_photos
from app.records import Preprocess
from app.runtime.conv_choice import lively_layers
from app.runtime.cpu_session import CpuSession
from app.runtime.dense_session import open_dense
from app.setup_errors import SetupError
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import PHOTOS

CONFIG = VggConfig("D", (8, 16, 24, 32, 32), hidden=(32, 32), classes=10, side=64)
USUAL = Preprocess(68, 64, "RGB", (127.5,) * 3, (73.9,) * 3)
LIMITED = partial(prepare, limits=ImageLimits())
CHELSEA = (PHOTOS / "chelsea.jpg").read_bytes()


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    write_vgg(folder, CONFIG, lively_layers(CONFIG), USUAL)
    return folder / GRAPH_FILE


@pytest.mark.parametrize(
    ("name", "scales", "expected"),
    [
        ("single", None, ()),
        ("ten-crop", None, (68,)),
        ("dense", None, (68,)),
        ("dense", "96", (96,)),
        ("multi-scale", None, (73, 110, 146)),
        ("multi-scale", "64, 96", (64, 96)),
        ("multi-crop", "1024", (1024,)),
    ],
)
def test_scales_are_those_named_or_the_usual_ones(name, scales, expected):
    """In pixels of the shorter side, from the crop on."""
    assert PaperTest(name, expected) == read_test(name, scales, USUAL)


@pytest.mark.parametrize(
    ("name", "scales", "sentence"),
    [
        ("sparse", None, "--test is 'sparse', expected one of single, ten-crop, dense"),
        ("single", "96", "--scales is for another --test"),
        ("dense", "96,128", "multi-scale and multi-crop have several"),
        ("dense", "63", "from the model's crop, 64, to 1024"),
        ("dense", "1025", "from the model's crop, 64, to 1024"),
        ("dense", "big", "'big'"),
        ("multi-scale", "96,,128", "''"),
        ("multi-scale", "96,96", "twice"),
    ],
)
def test_what_cannot_be_is_told(name, scales, sentence):
    """Each sentence says what to do."""
    with pytest.raises(SetupError, match=sentence):
        read_test(name, scales, USUAL)


@pytest.mark.parametrize(("name", "crops"), [("ten-crop", 10), ("multi-crop", 150)])
def test_crops_are_averaged(graph, name, crops):
    """The answer is the mean of the answers to each crop alone, whatever the size of a batch."""
    test = read_test(name, None, USUAL)
    run = CpuSession(graph).run
    views = test.views(LIMITED, CHELSEA, USUAL)
    alone = [run(one[None])[0] for scale in views for one in scale]

    assert crops == len(alone)
    np.testing.assert_allclose([np.mean(alone, axis=0)], mean_of_crops(views, run, 7), rtol=1e-5)


def test_scales_are_averaged(graph):
    """The answer is the mean of dense answers."""
    session = open_dense(graph, CONFIG, USUAL, 1)
    test = read_test("multi-scale", "64,96,130", USUAL)
    wholes, _ = whole_photos(LIMITED, CHELSEA, [64, 96, 130])
    expected = np.mean([session.classify(one).probabilities for one in wholes], axis=0)

    views = test.views(LIMITED, CHELSEA, USUAL)

    assert [(64, 96, 3), (96, 144, 3), (130, 195, 3)] == [one.shape for one in views]
    np.testing.assert_allclose([expected], mean_of_scales(views, session), rtol=1e-6)


def published_as(name: str) -> tuple[str, str]:
    """Return the digest and the source in a manifest of the box."""
    manifest = load_catalog(BUILT_IN)[name]
    digest = manifest.checkpoint.digest if manifest.checkpoint else ""
    return digest or "", manifest.accuracy.source if manifest.accuracy else ""


@pytest.mark.parametrize(("name", "top1"), [("vgg16-oxford", 0.744), ("vgg19-oxford", 0.745)])
def test_the_paper_s_figures_are_shown_for_its_weights(name, top1):
    """Three tests, and which of them is the user's own."""
    test = PaperTest("multi-scale", (256, 384, 512))

    found = paper_figures(*published_as(name), test, trained=True)

    assert "arXiv 1409.1556" in found["source"]
    assert [False, True, False] == [row["same"] for row in found["rows"]]
    assert [(top1, "dense"), (0.752, "multi-scale"), (0.754, "multi-crop")] == [
        (row["top1"], row["test"]) for row in found["rows"]
    ]
    assert found["note"] is None


def test_no_figure_is_shown_for_others():
    """Those of torchvision are told that there is none; the small model, and untrained ones, nothing."""
    test = PaperTest("dense", (256,))
    of_torchvision = paper_figures(*published_as("vgg16"), test, trained=True)

    assert [] == of_torchvision["rows"]
    assert "torchvision" in of_torchvision["note"]
    nothing: dict[str, Any] = {"source": None, "rows": [], "note": None}
    assert nothing == paper_figures(*published_as("vgg16-mini"), test, trained=True)
    assert nothing == paper_figures(*published_as("vgg16-oxford"), test, trained=False)
