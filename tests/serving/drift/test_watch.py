"""What is counted of photos and answers; darker photos are told from usual ones, and usual ones are not."""

import csv
import io
import math
import zipfile

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from app.cli.evaluate.model import Side, open_model
from app.records import ImageInfo
from app.runtime.dense_session import DenseSession
from app.service.settings import Settings
from app.serving.drift.watch import AT_ONCE, RATE, Watch, certainty, look
from app.serving.metrics import Metrics
from app.weights.manifests.baseline import PROPERTIES, make_baseline
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import SHARED_DATA

PHOTO = ImageInfo(640, 480, "jpeg")
ROW = np.array([0.5, 0.25, 0.125, 0.125], np.float32)
KEYS = ("model", "format", "colour", "le", "property")
ARCHIVE = SHARED_DATA / "vgg16-mini" / "val.zip"


def one_colour(red, green, blue, side=64):
    return np.full((side, side, 3), (red, green, blue), np.uint8)


def shown(*watches):
    """Return what a scrape says: the values by their name and the values of their labels."""
    metrics = Metrics()
    for watch in watches:
        metrics.add_source(watch.families)
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *(sample.labels[key] for key in KEYS if key in sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def baseline_of(facts, energies=None):
    return make_baseline(np.array(facts), energies, load_catalog(BUILT_IN)["vgg16-mini"], "ab")


# --- one photo -------------------------------------------------------------------------


def test_brightness_is_luma():
    """White is 1, black is 0, and green is brighter than red and blue; one colour has no contrast."""
    found = [look(one_colour(*rgb)) for rgb in ((255, 255, 255), (0, 0, 0), (0, 255, 0))]

    assert pytest.approx([1, 0, 0.587], abs=1e-6) == [one.brightness for one in found]
    assert pytest.approx([0, 0, 0], abs=1e-3) == [one.contrast for one in found]
    assert [True, True, False] == [one.grey for one in found]


def test_contrast_is_the_standard_deviation():
    """Half black and half white is 0.5, as numpy says of all pixels; one coloured pixel row is colour."""
    pixels = one_colour(0, 0, 0, side=224)
    pixels[:, 112:] = 255
    seen = look(pixels)

    assert pytest.approx((0.5, 0.5), abs=1e-3) == (seen.brightness, seen.contrast)
    assert seen.grey


@pytest.mark.parametrize("side", [8, 31, 64, 100, 224, 299])
def test_the_grid_stands_for_all_pixels(side):
    """The mean and the deviation of a grid are near those of all pixels, whatever the size of the crop."""
    across, down = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 80, side))
    pixels = np.stack([across, down, across - down / 4], axis=-1).clip(0, 255).astype(np.uint8)
    luma = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    seen = look(pixels)

    assert pytest.approx((luma.mean(), luma.std()), abs=0.02) == (seen.brightness, seen.contrast)


def test_certainty_of_an_answer():
    """Entropy is in bits; one class alone has none, and equal classes have all there is."""
    thousand = np.stack([np.eye(1, 1000)[0], np.full(1000, 0.001)]).astype(np.float32)

    assert pytest.approx((1.75, 0.5, 0.25)) == certainty(ROW[None])[0].tolist()
    assert [0, 1, 1] == certainty(thousand)[0].tolist()
    assert [0, 1, 1] == certainty(np.ones((1, 1), np.float32))[0].tolist()
    assert pytest.approx((math.log2(1000), 0.001, 0), abs=1e-4) == certainty(thousand)[1].tolist()


# --- counts ----------------------------------------------------------------------------


def test_photos_are_counted_in_histograms():
    """Each photo is in one bucket a property, and in the counter of its format and colour."""
    watch = Watch("m", trained=True)
    for level in (10, 100, 100, 250):
        watch.count(look(one_colour(level, level, level)), PHOTO, ROW)
    watch.count(look(one_colour(200, 10, 10)), ImageInfo(20, 40, "png"), ROW)
    found = shown(watch)

    assert 4 == found["vgg_images_total", "m", "jpeg", "grey"]
    assert 1 == found["vgg_images_total", "m", "png", "colour"]
    assert 0 == found["vgg_images_total", "m", "webp", "grey"]
    assert [1, 4, 5] == [
        found["vgg_image_brightness_bucket", "m", le] for le in ("0.1", "0.4", "1.0")
    ]
    assert [1, 1, 5] == [
        found["vgg_image_shorter_side_pixels_bucket", "m", le] for le in ("32.0", "384.0", "512.0")
    ]
    assert 4 * 480 + 20 == found["vgg_image_shorter_side_pixels_sum", "m"]
    assert 5 == found["vgg_margin_bucket", "m", "0.3"] == found["vgg_margin_count", "m"]
    assert pytest.approx(5 * 1.75) == found["vgg_prediction_entropy_bits_sum", "m"]


def test_untrained_weights_tell_nothing_of_their_answers():
    """Photos are counted, predictions are not, and there is nothing to drift from."""
    watch = Watch("m", trained=False, baseline=baseline_of([[0.5] * 6] * 100, np.full(100, 9.0)))
    watch.count(look(one_colour(1, 2, 3)), PHOTO, ROW)
    names = {name for name, *_ in shown(watch)}

    assert "vgg_image_brightness_count" in names
    assert not any(
        part in name for name in names for part in ("top1", "margin", "entropy", "drift", "unusual")
    )
    assert not watch.is_unusual(-100.0)


def test_models_share_a_metric():
    """Two models are two label values of the same histogram, which is declared once."""
    watches = [Watch(name, trained=True) for name in ("a", "b")]
    watches[1].count(look(one_colour(1, 2, 3)), PHOTO, ROW)
    found = shown(*watches)

    assert (0, 1) == tuple(found["vgg_image_contrast_count", name] for name in ("a", "b"))


def test_beyond_a_rate_some_photos_are_left_out():
    """Two thousand at once are counted, and then 50 per second, so that counting costs little."""
    now = [0.0]
    watch = Watch("m", trained=True, clock=lambda: now[0])
    at_once = sum(watch.wants() for _ in range(3000))
    now[0] = 0.1

    assert AT_ONCE == at_once
    assert RATE / 10 == sum(watch.wants() for _ in range(3000))


def test_the_first_percentile_of_the_energy_is_unusual():
    """One in a hundred photos of the baseline is below it; a graph without logits knows none."""
    energies = np.arange(1000.0)
    watch = Watch("m", trained=True, baseline=baseline_of([[0.5] * 6] * 1000, energies))

    assert 10 == sum(watch.is_unusual(energy) for energy in energies.tolist())
    assert not watch.is_unusual(None)
    assert 10 == shown(watch)["vgg_unusual_total", "m"]


def test_a_baseline_of_another_temperature_has_its_energy_alone():
    """Unusual photos are counted, and nothing is compared that the temperature has changed."""
    baseline = baseline_of([[0.5] * 6] * 1000, np.arange(1000.0)).at(1.07)
    watch = Watch("m", trained=True, baseline=baseline)
    watch.count(look(one_colour(1, 2, 3)), PHOTO, ROW)

    assert [True, False] == [watch.is_unusual(energy) for energy in (5.0, 500.0)]
    found = shown(watch)
    assert (1, 1) == (found["vgg_unusual_total", "m"], found["vgg_margin_count", "m"])
    assert not any("drift" in name for name, *_ in found)


# --- drift -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixels():
    """The validation photos of vgg16-mini, uint8 [N, 64, 64, 3]."""
    if not ARCHIVE.exists():
        pytest.skip(f"no photos: {ARCHIVE} is not there")
    with zipfile.ZipFile(ARCHIVE) as files:
        rows = [*csv.DictReader(io.StringIO(files.read("val.csv").decode()))]
        opened = (Image.open(io.BytesIO(files.read(f"images/{row['file']}"))) for row in rows[::5])
        return np.stack([np.asarray(one.convert("RGB")) for one in opened])


@pytest.fixture(scope="module")
def rows(pixels, tmp_path_factory):
    """What vgg16-mini answers, float32 [N, 202]."""
    settings = Settings(model_dir=tmp_path_factory.mktemp("none"), offline=True)
    session = open_model(Side(settings, "vgg16-mini")).session
    assert not isinstance(session, DenseSession)
    return np.concatenate([session.run(pixels[at : at + 64]) for at in range(0, len(pixels), 64)])


def drift_of(pixels, rows, baseline):
    """Stream photos through a watch, and return the index of each property."""
    watch = Watch("m", trained=True, baseline=baseline)
    for one, row in zip(pixels, rows, strict=True):
        watch.count(look(one), ImageInfo(64, 64, "jpeg"), row)
    found = shown(watch)
    return {name: found["vgg_drift_psi", "m", name] for name in PROPERTIES}


@pytest.mark.real
def test_darkened_photos_drift_and_usual_ones_do_not(pixels, rows):
    """Half as bright: above 0.25 within 1,000 photos. As they are: no property above 0.1 in 20 of 20 draws."""
    facts = [(*look(one)[:2], 64, *sure) for one, sure in zip(pixels, certainty(rows), strict=True)]
    baseline, rng = baseline_of(facts), np.random.default_rng(0)
    draws = [rng.choice(len(pixels), 1000) for _ in range(20)]

    usual = [drift_of(pixels[draw], rows[draw], baseline) for draw in draws]
    dark = drift_of(pixels[draws[0]] // 2, rows[draws[0]], baseline)

    assert max(max(one.values()) for one in usual) < 0.1
    assert dark["brightness"] > 0.25
