"""A baseline survives its file, and a mistake in one is reported with its file and key."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from app.records import Preprocess
from app.setup_errors import ManifestError
from app.weights.manifests.baseline import (
    PROPERTIES,
    find_baseline,
    make_baseline,
    read_baseline,
    write_baseline,
)
from app.weights.manifests.catalog import BUILT_IN, load_catalog

MINI = load_catalog(BUILT_IN)["vgg16-mini"]


def made(photos=1000):
    """Make a baseline of uniform values, whose second property is nearly always the same."""
    facts = np.random.default_rng(0).random((photos, len(PROPERTIES)))
    facts[20:, 1] = 64
    return make_baseline(facts, np.arange(float(photos)), MINI, "ab")


def written(folder, change=lambda _: None):
    """Write a baseline that was changed."""
    path = folder / "vgg16-mini.baseline.json"
    write_baseline(path, made())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_it_survives_its_file(tmp_path):
    """What was written is what is read."""
    assert made() == read_baseline(written(tmp_path))


def test_bins_hold_as_many_photos_each():
    """Ten bins of a tenth; a value that most photos share has a bin of its own."""
    baseline = made()
    shared = baseline.properties["contrast"]

    assert [100] * 10 == [round(n, -1) for n in baseline.properties["brightness"].photos]
    assert [20, 980, 0] == [*shared.photos]
    assert [1, 1, 2, 0] == np.searchsorted(shared.edges, [64, 64.0, 64.1, 63.9]).tolist()


def test_the_energy_is_the_first_percentile():
    """One photo of a hundred is below it."""
    assert pytest.approx(9.99) == made().energy


def test_it_fits_its_weights_alone():
    """Neither other weights nor another preprocessing are compared with it."""
    preprocess = MINI.preprocess
    other = Preprocess(70, 64, "RGB", preprocess.mean, preprocess.std)

    assert made().fits("ab", preprocess)
    assert not made().fits("cd", preprocess)
    assert not made().fits("ab", other)


def test_at_another_temperature_its_energy_alone_holds(tmp_path):
    """Entropy and probabilities are others there; a file that names none is of the temperature 1."""

    def forget(content):
        del content["temperature"]

    old, new = read_baseline(written(tmp_path, forget)), made()

    assert (1.0, 1.0) == (old.temperature, new.temperature)
    assert new is new.at(1.0)
    assert ({}, new.energy) == (new.at(1.07).properties, new.at(1.07).energy)


def test_it_has_the_temperature_of_the_manifest():
    """The one at which its photos were answered."""
    facts = np.random.default_rng(0).random((100, len(PROPERTIES)))
    manifest = replace(MINI, temperature=1.07)

    assert 1.07 == make_baseline(facts, None, manifest, "ab").temperature


def test_the_small_model_has_one():
    """The model in the box comes with the histograms of its 10,100 validation photos, and fits them."""
    baseline = find_baseline(MINI, BUILT_IN)

    assert baseline is not None
    assert 10_100 == baseline.photos
    assert baseline.energy is not None
    assert baseline.fits(str(MINI.checkpoint and MINI.checkpoint.sha256), MINI.preprocess)
    assert (BUILT_IN / "vgg16-mini.baseline.json").stat().st_size < 5000


def test_the_usual_place(tmp_path):
    """NAME.baseline.json counts without a key; a file that the manifest names has to be there."""
    path = written(tmp_path)
    path.rename(tmp_path / "other.json")
    named = load_catalog(BUILT_IN)["vgg16"]
    folder = tmp_path / "more"
    folder.mkdir()
    manifest = (BUILT_IN / "vgg16.toml").read_text()
    (folder / "vgg16.toml").write_text('baseline = "mine.json"\n' + manifest)

    assert find_baseline(named, tmp_path) is None
    (tmp_path / "other.json").rename(tmp_path / "vgg16.baseline.json")
    assert made() == find_baseline(named, tmp_path)
    with pytest.raises(ManifestError, match=r"mine\.json: cannot be read as a baseline: No such"):
        find_baseline(load_catalog(folder)["vgg16"], folder)


def brightness(**changes):
    """Return what changes the histogram of brightness."""
    return lambda content: content["properties"]["brightness"].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("photos"), "photos: Field required"),
        (lambda c: c.update(photos=10), "photos: Input should be greater than or equal to 100"),
        (
            lambda c: c.update(photos=2000),
            "properties.brightness.photos: adds up to 1000, expected 2000",
        ),
        (lambda c: c.update(energy="low"), "energy: Input should be a valid number"),
        (lambda c: c.update(energy=float("nan")), "energy: Input should be a finite number"),
        (lambda c: c.update(more=1), "more: Unexpected keyword argument"),
        (lambda c: c["properties"].pop("margin"), "properties.margin: is missing"),
        (lambda c: c["properties"].update(hue=1), "properties.hue"),
        (brightness(up_to=[0.5, 0.4], photos=[0, 0, 1000]), "brightness.up_to: has to ascend"),
        (brightness(photos=[500, 500]), "brightness.photos: has 2 counts, expected 10"),
        (brightness(up_to=list(range(101))), "brightness.up_to: Tuple should have at most 100"),
        (brightness(photos=[-1] * 10), "brightness.photos.0: Input should be greater than"),
        (lambda c: c.update(format="vgg-serve baseline 2"), "format: Input should be 'vgg-serve"),
    ],
)
def test_mistakes_are_named(tmp_path, change, said):
    """The sentence has the file, the key, and what was expected."""
    path = written(tmp_path, change)

    with pytest.raises(ManifestError, match=f"^{re.escape(str(path))}: .*{re.escape(said)}"):
        read_baseline(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "Input should be a dictionary"),
        (b" " * (2**20 + 1), "is larger than 1048576 bytes"),
    ],
)
def test_other_files(tmp_path, content, said):
    """Whatever is in the file, it is read within limits and told in one sentence."""
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(ManifestError, match=re.escape(said)):
        read_baseline(path)


def test_a_folder_is_no_baseline(tmp_path):
    """A folder in its place is named."""
    with pytest.raises(ManifestError, match="is not a file"):
        read_baseline(tmp_path)
