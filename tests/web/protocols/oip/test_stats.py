"""Statistics out of metrics."""

import pytest

from app.records import BatchReport
from app.serving.hosted_models import HostedModel
from app.serving.metrics import Metrics
from app.web.protocols.oip.stats import stats_of
from app.weights.manifests.catalog import load_catalog


@pytest.fixture
def model(model_dir):
    return HostedModel(load_catalog(model_dir)["colours"])


def test_statistics_are_those_of_the_metrics(model):
    """Images, runs and stages of this model alone; a batch under the size it was padded to."""
    metrics = Metrics()
    stages = {"decode": 0.25, "queue": 0.5, "run": 1.0, "rank": 0.125}
    for name in ("colours", "colours", "another"):
        metrics.classified(name, stages)
    for size in (1, 3, 4):
        metrics.ran("colours", BatchReport(size, ()))
    metrics.answered("colours", 200, 1.875, "oip")
    metrics.answered("colours", 200, 1.875)
    metrics.answered("colours", 503, 2.0, "oip")
    told = stats_of(model, metrics.render().decode())

    inference = told["inference_stats"]
    assert ("colours", "1", 8, 3) == (
        *(told["name"], told["version"]),
        *(told["inference_count"], told["execution_count"]),
    )
    assert {"count": 2, "ns": 3_750_000_000} == inference["success"]
    assert {"count": 1, "ns": 2_000_000_000} == inference["fail"]
    assert {"count": 2, "ns": 1_000_000_000} == inference["queue"]
    assert {"count": 2, "ns": 500_000_000} == inference["compute_input"]
    assert {"count": 2, "ns": 2_000_000_000} == inference["compute_infer"]
    assert [(1, 1), (4, 2)] == [
        (one["batch_size"], one["compute_infer"]["count"]) for one in told["batch_stats"]
    ]


def test_model_that_did_nothing_has_zeros(model):
    """Nothing is missing."""
    told = stats_of(model, Metrics().render().decode())

    assert (0, 0, []) == (told["inference_count"], told["execution_count"], told["batch_stats"])
    assert {0} == {one["count"] for one in told["inference_stats"].values()}
