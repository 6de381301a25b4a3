from concurrent.futures import ThreadPoolExecutor

from prometheus_client.parser import text_string_to_metric_families

from app.records import BatchReport
from app.serving.metrics import SECONDS, Metrics


def values(metrics):
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counts_are_exact_under_concurrency():
    """Ten thousand counts from eight threads are ten thousand."""
    metrics = Metrics()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10_000):
            pool.submit(metrics.answered, "vgg16", 200, 0.01)

    assert 10_000 == values(metrics)["vgg_requests_total", "200", "predict", "vgg16"]


def test_known_labels_start_at_zero():
    """Rejections and cancellations are shown before the first one, so that rates are right."""
    found = values(Metrics())

    assert 0 == found["vgg_rejected_total", "overloaded"]
    assert 0 == found["vgg_refused_connections_total", "overloaded"]
    assert {"upload", "decode", "queue", "run", "explain", "draw"} == {
        key[1] for key in found if key[0] == "vgg_cancelled_total"
    }


def test_readiness_is_read_at_each_scrape():
    """A model that stops is 0 at the next scrape, while another one is 1."""
    metrics = Metrics()
    standing = {"vgg19": 1.0}
    metrics.expect_model("vgg16", lambda: 1.0)
    metrics.expect_model("vgg19", lambda: standing["vgg19"])
    standing["vgg19"] = 0.0
    found = values(metrics)

    assert (1, 0) == (found["vgg_ready", "vgg16"], found["vgg_ready", "vgg19"])


def test_problems_of_the_client_are_not_rejections():
    """Only valid requests that were not answered count as rejected."""
    metrics = Metrics()
    metrics.rejected("unsupported-format")
    metrics.rejected("overloaded")
    found = values(metrics)

    assert 1 == found["vgg_rejected_total", "overloaded"]
    assert ("vgg_rejected_total", "unsupported-format") not in found


def test_run_gives_batch_size_and_prediction_error():
    """A run of three counts once in the histogram of sizes, and three times in that of errors."""
    metrics = Metrics()
    metrics.ran("vgg16", BatchReport(3, ((0.1, 0.1), (0.2, 0.1), (0.0, 0.5))))
    found = values(metrics)

    assert (1, 3) == (found["vgg_batch_size_count", "vgg16"], found["vgg_batch_size_sum", "vgg16"])
    assert 3 == found["vgg_wait_prediction_error_seconds_count", "vgg16"]


def test_buckets_resolve_half_a_millisecond_to_a_minute():
    """They cover the latencies of a GPU and of a full queue on a laptop."""
    assert (0.0005, 60.0) == (SECONDS[0], SECONDS[-1])
    assert sorted(SECONDS) == list(SECONDS)
