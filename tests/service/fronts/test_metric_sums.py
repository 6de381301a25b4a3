import json
from functools import partial

import numpy as np
import pytest
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from app.records import BatchReport, ImageInfo
from app.service.fronts.metric_sums import add_up, counts_of
from app.serving.drift.watch import Look, Watch
from app.serving.drift.windows import stability_index
from app.serving.metrics import Metrics, render
from app.weights.manifests.baseline import make_baseline
from app.weights.manifests.catalog import BUILT_IN, load_catalog


def values(families):
    parsed = text_string_to_metric_families(render(families).decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parsed
        for sample in family.samples
    }


def test_one_process_is_written_as_ever():
    """The families of a process give the text that the process itself writes."""
    metrics = Metrics()
    metrics.answered("vgg16", 200, 0.02)
    metrics.expect_model("vgg16", lambda: 1.0)
    own = metrics.families()
    lines = [line for line in metrics.render().splitlines() if not line.startswith(b"process_")]

    assert lines == [line for line in render(own).splitlines() if not line.startswith(b"process_")]


def test_counts_are_added_exactly():
    """Counters and each bucket of a histogram are sums, in whatever order they come."""
    parts = [Metrics() for _ in range(3)]
    for times, part in enumerate(parts, 1):
        for _ in range(times):
            part.answered("vgg16", 200, 0.02)
            part.ran("vgg16", BatchReport(3, ()))
    parts[1].answered("vgg19", 503, 0.5)
    families = [part.families() for part in parts]

    assert pytest.approx(values(add_up(families))) == values(add_up(reversed(families)))
    found = values(add_up(families))
    assert 6 == found["vgg_requests_total", "200", "predict", "vgg16"]
    assert 1 == found["vgg_requests_total", "503", "predict", "vgg19"]
    assert 18 == found["vgg_batch_size_sum", "vgg16"]
    assert 6 == found["vgg_request_duration_seconds_bucket", "0.025", "predict", "vgg16"]
    assert 0 == found["vgg_request_duration_seconds_bucket", "0.01", "predict", "vgg16"]


def test_gauges_are_joined_as_they_declare():
    """Bytes add up, the longest wait counts, and a model is ready if it is in every process."""
    parts = [Metrics() for _ in range(2)]
    for number, part in enumerate(parts, 1):
        part.uploading(100 * number)
        part.expect_model("vgg16", lambda: 1.0)
        part.add_model(
            "vgg16",
            device="cpu",
            weights_sha256="ab",
            trained=True,
            depth=partial(float, number),
            predicted_wait=partial(float, number),
        )
    separate = [values(part.families()) for part in parts]
    found = values(add_up([part.families() for part in parts]))

    assert 300 == found["vgg_upload_bytes",]
    assert 3 == found["vgg_queue_depth", "vgg16"]
    assert 2 == found["vgg_predicted_wait_seconds", "vgg16"]
    assert 1 == found["vgg_ready", "vgg16"]
    assert 1 == found["vgg_model_info", "ab", "cpu", "float32", "true", "vgg16"]
    starts = [part["process_start_time_seconds",] for part in separate]
    assert min(starts) == found["process_start_time_seconds",]


@pytest.mark.parametrize(("join", "value"), [("sum", 6.0), ("min", 1.0), ("max", 3.0)])
def test_a_new_gauge_is_joined_as_it_declares(join, value):
    """Its declaration is the only place to edit."""
    parts = [Metrics() for _ in range(3)]
    for number, part in enumerate(parts, 1):
        part._gauge("vgg_new", "A gauge that nobody has thought of.", join=join).set(number)

    assert value == values(add_up([part.families() for part in parts]))["vgg_new",]


def test_the_drift_of_several_processes_is_that_of_their_photos():
    """Windows are joined before the index is computed: the newest 1,000 photos of all processes count."""
    manifest = load_catalog(BUILT_IN)["vgg16-mini"]
    facts = np.random.default_rng(0).random((1000, 6))
    baseline = make_baseline(facts, None, manifest, "ab")
    now, parts, watches = [0.0], [Metrics() for _ in range(3)], []
    for part in parts:
        watch = Watch("m", trained=True, baseline=baseline, clock=lambda: now[0])
        part.add_source(watch.families)
        watches.append(watch)
    row = np.array([0.7, 0.3], np.float32)

    def stream(watch, count, brightness):
        for _ in range(count):
            now[0] += 1
            watch.count(Look(brightness, 0.5, grey=False), ImageInfo(9, 9, "png"), row)

    stream(watches[0], 600, 0.05)  # in the lowest bin
    first = values(add_up([part.families() for part in parts]))
    stream(watches[1], 300, 0.95)
    stream(watches[2], 700, 0.95)
    ended = counts_of(json.loads(json.dumps(parts[0].families())))
    second = values(add_up([ended, *[part.families() for part in parts[1:]]]))

    low, high = np.array([600] + [0] * 9), np.array([0] * 9 + [1000])
    shares = baseline.properties["brightness"].shares
    assert stability_index(low, shares) == first["vgg_drift_psi", "brightness", "m"]
    assert stability_index(high, shares) == second["vgg_drift_psi", "brightness", "m"]
    assert 1600 == second["vgg_image_brightness_count", "m"]


def test_a_gauge_that_declares_nothing_is_found_at_once():
    """A scrape fails, even of one process, instead of a guess that only two would show."""
    metrics = Metrics()
    Gauge("vgg_forgotten", "Registered past the declaration.", registry=metrics.registry)

    with pytest.raises(KeyError, match="vgg_forgotten"):
        metrics.families()


def test_only_the_counts_of_a_process_that_has_ended_are_kept():
    """Its requests were answered; its memory and its uploads are gone."""
    metrics = Metrics()
    metrics.answered("vgg16", 200, 0.02)
    metrics.uploading(100)
    found = values(counts_of(metrics.families()))

    assert 1 == found["vgg_requests_total", "200", "predict", "vgg16"]
    assert ("vgg_upload_bytes",) not in found
