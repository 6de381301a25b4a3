from dataclasses import replace

import numpy as np
import pytest

from app.serving.ask_classifier import ask_classifier
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from app.serving.hosted_models import HostedModel, Models
from app.serving.loading import Hosting, Loaded
from app.serving.metrics import Metrics
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.provisioning import Provisioning
from tests.conftest import REPOSITORY

POLICY = BatchPolicy((1,), RunCost.fit({1: 0.5}))


@pytest.fixture
def model():
    return HostedModel(load_catalog(REPOSITORY / "models")["vgg16"])


def test_a_download_is_logged_ten_times(model, caplog):
    """The log of a first start shows each tenth of the weights."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    total = 553_000_000
    for done in range(0, total + 1, 1_000_000):
        model.report_progress("fetching", done, total)

    assert 11 == len(caplog.messages)
    assert "vgg16: fetching, 0 of 553 MB" == caplog.messages[0]
    assert "vgg16: fetching, 56 of 553 MB" == caplog.messages[1]
    assert "vgg16: fetching, 553 of 553 MB" == caplog.messages[-1]


def test_each_step_is_logged_once(model, caplog):
    """A step is logged when it starts, however often it reports progress."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    for step in ("verifying", "building", "loading", "warming up"):
        model.report_progress(step, 0, None)
        for done in range(100):
            model.report_progress(step, done, 100)

    assert [
        "vgg16: verifying",
        "vgg16: building",
        "vgg16: loading",
        "vgg16: warming up",
    ] == caplog.messages
    assert "warming up" == model.describe_progress()


def test_calibrating_is_logged_ten_times(model, caplog):
    """It says how many runs are done, of how many."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    for done in range(1, 181):
        model.report_progress("calibrating", done, 180)

    assert 11 == len(caplog.messages)
    assert "vgg16: calibrating, 18 of 180 runs" == caplog.messages[1]
    assert "calibrating, 180 of 180 runs" == model.describe_progress()


def hosted(*names: str, stand_in: str = "") -> Models:
    """Host built-in models, none of them loaded."""
    catalog = load_catalog(REPOSITORY / "models")
    hosting = Hosting(Provisioning(REPOSITORY / "models", ask_classifier), "cpu", 1, None, 0.0, 2.0)
    return Models([catalog[name] for name in names], hosting, Metrics(), stand_in)


def bring(models: Models, name: str) -> None:
    """Let a model answer."""
    model = models.get(name)
    queue = Batcher([Lane(lambda _: np.zeros((1, 1000), np.float32), Device())], POLICY)
    queue.start()
    models.publish(model, Loaded(model.manifest, (), queue, "cpu", "ab", trained=True))


@pytest.mark.anyio
async def test_a_stand_in_answers_until_the_default_model_is_loaded():
    """It answers requests that name no model; whoever names one gets that one."""
    models = hosted("vgg16", "vgg16-mini", stand_in="vgg16-mini")

    def chosen():
        return [models.choose(name).manifest.name for name in (None, "vgg16", "vgg16-mini")]

    assert (False, ["vgg16", "vgg16", "vgg16-mini"]) == (models.ready, chosen())
    bring(models, "vgg16-mini")
    assert (True, ["vgg16-mini", "vgg16", "vgg16-mini"]) == (models.ready, chosen())
    models.get("vgg16").state = "failed"
    assert (True, False) == (models.ready, models.failed)
    bring(models, "vgg16")
    assert (True, ["vgg16", "vgg16", "vgg16-mini"]) == (models.ready, chosen())
    await models.stop()


@pytest.mark.anyio
async def test_a_stand_in_stands_in_for_the_default_model_alone():
    """Without another model that was asked for, the service has failed."""
    models = hosted("vgg16", "vgg19", "vgg16-mini", stand_in="vgg16-mini")
    bring(models, "vgg16-mini")

    models.get("vgg19").state = "failed"

    assert (False, True) == (models.ready, models.failed)
    await models.stop()


def test_a_default_model_does_not_stand_in_for_itself():
    """VGG_STAND_IN may name the default model, as with `make serve MODELS=vgg16-mini`."""
    models = hosted("vgg16-mini", stand_in="vgg16-mini")

    assert ("", False) == (models.stand_in, models.stands_in)


def test_a_download_of_unknown_size(model, caplog):
    """Without a total no bytes are logged, and nothing fails."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    model.report_progress("fetching", 0, None)
    model.report_progress("fetching", 1000, None)

    assert ["vgg16: fetching"] == caplog.messages


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, True), (1.07, False)])
@pytest.mark.anyio
async def test_a_baseline_of_another_temperature_is_told(tmp_path, caplog, temperature, kept):
    """Drift is not measured against it; what is unusual does not depend on the temperature."""
    (tmp_path / "vgg16-mini.baseline.json").symlink_to(BUILT_IN / "vgg16-mini.baseline.json")
    manifest = replace(load_catalog(BUILT_IN)["vgg16-mini"], temperature=temperature)
    metrics, hosting = (
        Metrics(),
        Hosting(Provisioning(tmp_path, ask_classifier), "cpu", 1, None, 0.0, 2.0),
    )
    models = Models([manifest], hosting, metrics)
    queue = Batcher([Lane(lambda _: np.zeros((1, 202), np.float32), Device())], POLICY)
    sha256 = str(manifest.checkpoint and manifest.checkpoint.sha256)
    models.publish(
        models.get("vgg16-mini"), Loaded(manifest, (), queue, "cpu", sha256, trained=True)
    )
    text = metrics.render().decode()

    told = (
        "vgg16-mini: no drift: its baseline is of temperature 1, not 1.07;"
        " make it again: evaluate --baseline"
    )
    assert (not kept) == (told in caplog.messages)
    assert kept == ("vgg_drift_psi{" in text)
    assert 'vgg_unusual_total{model="vgg16-mini"} 0.0' in text


def test_a_published_model_is_in_the_metrics(model):
    """Its facts are labels, and its queue is asked at each scrape."""
    metrics = Metrics()
    hosting = Hosting(Provisioning(REPOSITORY / "models", ask_classifier), "cpu", 1, None, 0.0, 2.0)
    queue = Batcher([Lane(lambda _: np.zeros((1, 1000), np.float32), Device())], POLICY)
    loaded = Loaded(model.manifest, (), queue, "cuda", "ab", trained=True, precision="float16")
    models = Models([model.manifest], hosting, metrics)
    models.publish(models.get("vgg16"), loaded)
    queue.count_coming(1)
    text = metrics.render().decode()

    labels = 'device="cuda",model="vgg16",precision="float16",trained="true",weights_sha256="ab"'
    assert f"vgg_model_info{{{labels}}} 1.0" in text
    assert 'vgg_queue_depth{model="vgg16"} 1.0' in text
    assert 'vgg_predicted_wait_seconds{model="vgg16"} 0.5' in text
    assert 'vgg_ready{model="vgg16"} 0.0' in text
