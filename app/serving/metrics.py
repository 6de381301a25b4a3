"""The Prometheus instruments; no label ever comes from what a client sent."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from app.errors import answered
from app.records import BatchReport
from app.serving.gpu_metrics import Reading

Sample: TypeAlias = tuple[str, dict[str, str], float]
"""Name, labels, value."""
Family: TypeAlias = dict[str, Any]
"""`name`, `type`, `help` and `samples`, a list of Sample; as JSON would hold it."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
NO_MODEL: Final = "none"
"""The label `model` of a request that named no model that is served here."""
SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
BATCH_SIZES: Final = tuple(2**power for power in range(11))
GPU_GAUGES: Final = (
    ("memory_used_bytes", "Memory of a GPU that is taken, by whomever.", "memory_used"),
    ("memory_bytes", "Memory of a GPU.", "memory_total"),
    ("utilization_ratio", "Part of the last moments in which a kernel ran.", "utilization"),
    ("temperature_celsius", "Of a GPU's chip.", "celsius"),
)
"""Name, help, attribute of a Reading."""
STAGES: Final = ("decode", "queue", "run", "rank")
CANCELLED_STAGES: Final = ("upload", "decode", "queue", "run")


class Metrics:
    """All instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        """Make the instruments; those with few label values begin at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "vgg_requests_total",
            "Answers to POST /predict by HTTP status; 499 is a client that left.",
            ["model", "code"],
            registry=registry,
        )
        self._duration = Histogram(
            "vgg_request_duration_seconds",
            "From the head of a request to the last byte of its answer.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._stage = Histogram(
            "vgg_stage_duration_seconds",
            "Where the time of answered requests went.",
            ["model", "stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "vgg_batch_size",
            "Images in a run, padding not counted.",
            ["model"],
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self._wait_error = Histogram(
            "vgg_wait_prediction_error_seconds",
            "How far the wait that was predicted on arrival was from the real one.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._depth = Gauge(
            "vgg_queue_depth", "Images that wait for a run.", ["model"], registry=registry
        )
        self._predicted_wait = Gauge(
            "vgg_predicted_wait_seconds",
            "How long an image that came now would wait for its run.",
            ["model"],
            registry=registry,
        )
        self._rejected = Counter(
            "vgg_rejected_total",
            "Requests that were in order and not answered.",
            ["reason"],
            registry=registry,
        )
        self._refused = Counter(
            "vgg_refused_connections_total",
            "Connections that were closed because of what came before a request, or of their number.",
            ["reason"],
            registry=registry,
        )
        self._cancelled = Counter(
            "vgg_cancelled_total",
            "Clients that left, by what they left.",
            ["stage"],
            registry=registry,
        )
        self._uploads = Gauge(
            "vgg_upload_bytes", "Bytes of uploads that are in memory.", registry=registry
        )
        self._model_info = Gauge(
            "vgg_model_info",
            "1 for each model that is ready.",
            ["model", "device", "precision", "weights_sha256", "trained"],
            registry=registry,
        )
        self._ready = Gauge(
            "vgg_ready",
            "1 for each model that can answer, 0 for one that loads, failed, stopped or hangs.",
            ["model"],
            registry=registry,
        )
        self._gpu: dict[str, Gauge] = {}
        self._reasons = dict.fromkeys(kind.slug for kind in answered() if kind.counted)
        for reason in self._reasons:
            self._rejected.labels(reason)
        for kind in answered():
            if kind.closes_connections:
                self._refused.labels(kind.slug)
        for stage in CANCELLED_STAGES:
            self._cancelled.labels(stage)

    def expect_model(self, name: str, ready: Callable[[], float]) -> None:
        """Show a model that is to be served; its gauge is read when it is asked for."""
        self._ready.labels(name).set_function(ready)

    def add_model(
        self,
        name: str,
        *,
        device: str,
        precision: str = "float32",
        weights_sha256: str,
        trained: bool,
        depth: Callable[[], float],
        predicted_wait: Callable[[], float],
    ) -> None:
        """Show a model that became ready; its gauges are read when they are asked for."""
        trains = str(trained).lower()
        self._model_info.labels(name, device, precision, weights_sha256, trains).set(1)
        self._depth.labels(name).set_function(depth)
        self._predicted_wait.labels(name).set_function(predicted_wait)

    def add_gpu(self, number: int, read: Callable[[], Reading | None]) -> None:
        """Show a GPU; it is read when it is asked for, and `NaN` where it can no longer be."""
        if not self._gpu:
            self._gpu = {
                attribute: Gauge(f"vgg_gpu_{name}", text, ["gpu"], registry=self.registry)
                for name, text, attribute in GPU_GAUGES
            }
        for attribute, gauge in self._gpu.items():
            gauge.labels(str(number)).set_function(partial(_of_gpu, read, attribute))

    def answered(self, model: str, code: int, seconds: float) -> None:
        """Count an answer to POST /predict."""
        self._requests.labels(model, str(code)).inc()
        self._duration.labels(model).observe(seconds)

    def classified(self, model: str, *stages: float) -> None:
        """Note the seconds of each of STAGES of a request that succeeded."""
        for stage, seconds in zip(STAGES, stages, strict=True):
            self._stage.labels(model, stage).observe(seconds)

    def ran(self, model: str, report: BatchReport) -> None:
        """Note a run."""
        self._batch_size.labels(model).observe(report.images)
        for real, predicted in report.waits:
            self._wait_error.labels(model).observe(abs(real - predicted))

    def rejected(self, reason: str) -> None:
        """Count a problem, by the last part of its type, if its error says that it is counted."""
        if reason in self._reasons:
            self._rejected.labels(reason).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that an error closed before a request was read, by its slug."""
        self._refused.labels(reason).inc()

    def cancelled(self, stage: str) -> None:
        """Count a client that left, by one of CANCELLED_STAGES."""
        self._cancelled.labels(stage).inc()

    def uploading(self, change: int) -> None:
        """Note that so many bytes of uploads came into memory, or left it."""
        self._uploads.inc(change)

    def render(self) -> bytes:
        """Write all of them in Prometheus's text format."""
        return generate_latest(self.registry)

    def families(self) -> list[Family]:
        """Return all of them so that JSON can hold them."""
        return [
            {
                "name": metric.name,
                "type": metric.type,
                "help": metric.documentation,
                "samples": [(one.name, one.labels, one.value) for one in metric.samples],
            }
            for metric in self.registry.collect()
        ]


def render(families: Iterable[Family]) -> bytes:
    """Write metrics of several processes in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family["name"], family["help"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric


def _of_gpu(read: Callable[[], Reading | None], attribute: str) -> float:
    reading = read()
    return float("nan") if reading is None else float(getattr(reading, attribute))
