"""`vgg-serve evaluate` on photos of a trained network: its figures are PyTorch's, planted faults are found."""

import os

import numpy as np
import pytest

from app.weights.manifests.catalog import BUILT_IN
from tests.e2e.planted import ARCHIVE, Photos, torch_logits

pytestmark = [pytest.mark.real, pytest.mark.torch]
EVERY = int(os.environ.get("VGG_TEST_EVERY", "5"))
"""Of 10,100 photos every fifth is measured; `python -m tests.measure_evaluation` takes all, and minutes."""
PLANTED = 200 // EVERY
DARKENED = 600 // EVERY
"""Of all photos 300 are enough; of a fifth, a segment has to be worse to be told from chance."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The photos."""
    if not ARCHIVE.exists():
        pytest.skip(f"no photos: {ARCHIVE} is not there")
    return Photos(tmp_path_factory.mktemp("real"), EVERY)


@pytest.fixture(scope="module")
def report(photos):
    """The report on the true labels, with a comparison: red and blue exchanged."""
    return photos.evaluate(None, "--compare", "swapped")


def test_figures_are_those_of_pytorch_to_the_last_photo(photos, report):
    """Top-1, top-5, and which answers change where red and blue are exchanged."""
    torch = pytest.importorskip("torch", reason="no PyTorch")
    true, pixels = photos.labels, photos.pixels()
    logits, others = torch_logits(torch, pixels), torch_logits(torch, pixels, swapped=True)
    five = np.argsort(-logits, axis=1)[:, :5]
    changed = np.flatnonzero(logits.argmax(axis=1) != others.argmax(axis=1))
    found = {one["name"] for one in report["comparison"]["changed"]["photos"]}

    assert len(true) == report["n"]
    assert (five[:, 0] == true).sum() == round(report["top1"] * len(true))
    assert (five == true[:, None]).any(axis=1).sum() == round(report["top5"] * len(true))
    assert {photos.names[one] for one in changed} == found
    assert report["comparison"]["difference"]["high"] < 0


def test_the_proposed_temperature_is_what_a_manifest_takes(photos):
    """The model in the box: no answer changes, ECE and NLL are lower, and nothing more is proposed."""
    text, reports, temperature = (BUILT_IN / "vgg16-mini.toml").read_text(), [], 1.0
    for name in ("cold", "warm"):
        own = text.replace('name = "vgg16-mini"', f'name = "{name}"\ntemperature = {temperature}')
        (photos.models / f"{name}.toml").write_text(own)
        answers = photos.folder / f"{name}.answers"
        reports.append(photos.evaluate(None, "--model", name, "--answers", answers))
        temperature = reports[0]["calibration"]["temperature"]["manifest"]
    cold, warm = reports
    before, after = cold["calibration"], warm["calibration"]

    assert [cold[key] for key in ("top1", "top5", "n")] == [
        warm[key] for key in ("top1", "top5", "n")
    ]
    assert warm["ece"] < cold["ece"]
    assert after["nll"] < before["nll"]
    assert pytest.approx(before["temperature"]["ece"], abs=0.01) == warm["ece"]
    assert pytest.approx(1.0, abs=1e-3) == after["temperature"]["value"]
    assert pytest.approx(temperature, abs=2e-3) == after["temperature"]["manifest"]
    assert [1.0, temperature] == [one["model"]["temperature"] for one in reports]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_swapped_labels_are_among_the_first_suspects(photos, report, seed):
    """At least 60 % of them are among the first suspects, twice as many as there are."""
    assert report
    planted = photos.swap(PLANTED, seed)
    named = zip(photos.names, photos.wnids, strict=True)
    suspects = photos.evaluate([planted.get(name, wnid) for name, wnid in named])

    first = suspects["suspected_label_errors"][: 2 * PLANTED]
    assert 0.6 * PLANTED <= sum(one["name"] in planted for one in first)


def test_a_shuffled_file_of_labels_is_told(photos, report):
    """And so is one whose classes are in another order, but not the true one."""
    classes = sorted(set(photos.wnids))
    following = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    shuffled = photos.evaluate(photos.shuffled())["baselines"]
    moved = photos.evaluate([following[one] for one in photos.wnids])["baselines"]

    assert "look shuffled" in shuffled["sentence"]
    assert "other classes" in moved["sentence"]
    assert report["baselines"]["sentence"] is None


def test_darkened_photos_are_a_weak_segment(photos, report):
    """6 % of the photos: the dark ones are named, which they were not before."""
    photos.darken(DARKENED)
    found = photos.evaluate()
    photos.restore()
    weak = [[one["text"] for one in made["segments"]["weak"]] for made in (report, found)]

    assert DARKENED == found["speed"]["photos"]
    assert [False, True] == [
        any(text.startswith("brightness up to") for text in texts) for texts in weak
    ]
