"""The Prometheus metrics of one process; no label value ever comes from a client."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

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
from app.serving.drift import windows
from app.serving.gpu_metrics import GPU_GAUGES, Read

Join: TypeAlias = Literal["sum", "min", "max", "newest"]
"""How the values of several processes become one; `newest` is for windows."""
Family: TypeAlias = dict[str, Any]
"""A metric as JSON: `name`, `type`, `help`, `join` (a Join), and `samples`, a list of name, labels
and value. The values of the type `window` are those of `app.serving.drift.windows`; `render` computes
a gauge from them."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
Protocol: TypeAlias = Literal["predict", "hf", "oip", "grpc", "torchserve", "kserve_v1"]
"""What a client speaks; `predict` is this service's own."""
NO_MODEL: Final = "none"
"""The label `model` of a request that named no model of this server."""
SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
BATCH_SIZES: Final = tuple(2**power for power in range(11))
CANCELLED_STAGES: Final = ("upload", "decode", "queue", "run", "explain", "draw")

_PROCESS_GAUGES: Final[dict[str, Join]] = {
    "process_open_fds": "sum",
    "process_max_fds": "sum",
    "process_resident_memory_bytes": "sum",
    "process_virtual_memory_bytes": "sum",
    "process_start_time_seconds": "min",
    "python_info": "max",
}
"""The gauges of prometheus_client's own collectors."""


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        """Create the metrics; counters with few label values start at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._joins = dict(_PROCESS_GAUGES)
        self._sources: list[Callable[[], list[Family]]] = []
        requests = counter(
            "vgg_requests_total",
            "Answers to requests with photos, by HTTP status; 499 means that the client left.",
            ["model", "code", "protocol"],
        )
        duration = histogram(
            "vgg_request_duration_seconds",
            "Time from the last byte of an upload to the last byte of its answer.",
            ["model", "protocol"],
            buckets=SECONDS,
        )
        self._stage = histogram(
            "vgg_stage_duration_seconds",
            "Time that answered requests spent in each stage.",
            ["model", "stage"],
            buckets=SECONDS,
        )
        self._explained = counter(
            "vgg_explained_images_total",
            "Images in which classes were located, for requests with the parameter explain.",
            ["model"],
        )
        self._batch_size = histogram(
            "vgg_batch_size", "Images per run, without padding.", ["model"], buckets=BATCH_SIZES
        )
        self._wait_error = histogram(
            "vgg_wait_prediction_error_seconds",
            "Difference between the wait predicted on arrival and the actual wait.",
            ["model"],
            buckets=SECONDS,
        )
        self._depth = self._gauge(
            "vgg_queue_depth", "Images that wait for a run.", ["model"], join="sum"
        )
        self._predicted_wait = self._gauge(
            "vgg_predicted_wait_seconds",
            "Predicted time until an image that arrives now begins to run.",
            ["model"],
            join="max",
        )
        rejected = counter(
            "vgg_rejected_total", "Valid requests that were not answered, by reason.", ["reason"]
        )
        self._refused = counter(
            "vgg_refused_connections_total",
            "Connections closed before a request: malformed, too slow, or over the limit.",
            ["reason"],
        )
        self._cancelled = counter(
            "vgg_cancelled_total", "Clients that left, by the stage of their request.", ["stage"]
        )
        self._uploads = self._gauge("vgg_upload_bytes", "Bytes of uploads in memory.", join="sum")
        self._model_info = self._gauge(
            "vgg_model_info",
            "1 for each model that is ready.",
            ["model", "device", "precision", "weights_sha256", "trained"],
            join="max",
        )
        self._ready = self._gauge(
            "vgg_ready",
            "1 if a model can answer; 0 while it loads and after it failed, stopped or hung.",
            ["model"],
            join="min",
        )
        self._gpu: dict[str, Gauge] = {}
        self._rejected = {
            kind.slug: rejected.labels(kind.slug) for kind in answered() if kind.counted
        }
        self._requests_of = cache(requests.labels)  # a look-up takes longer than the count
        self._duration_of = cache(duration.labels)
        for kind in answered():
            if kind.closes_connections:
                self._refused.labels(kind.slug)
        for stage in CANCELLED_STAGES:
            self._cancelled.labels(stage)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = (), *, join: Join) -> Gauge:
        self._joins[name] = join
        return Gauge(name, text, labels, registry=self.registry)

    def expect_model(self, name: str, ready: Callable[[], float]) -> None:
        """Show a model that is to be served; `ready` is called at each scrape."""
        self._ready.labels(name).set_function(ready)
        self._explained.labels(name)

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
        """Show a model that is ready; `depth` and `predicted_wait` are called at each scrape."""
        of = name, device, precision, weights_sha256, str(trained).lower()
        self._model_info.labels(*of).set(1)
        self._depth.labels(name).set_function(depth)
        self._predicted_wait.labels(name).set_function(predicted_wait)

    def add_source(self, families: Callable[[], list[Family]]) -> None:
        """Show metrics that something else keeps; `families` is called at each scrape."""
        self._sources.append(families)

    def add_gpu(self, number: int, read: Read) -> None:
        """Show a GPU; it is read at each scrape, and its values are `NaN` if that fails."""
        for name, text in GPU_GAUGES.items():
            if name not in self._gpu:
                self._gpu[name] = self._gauge(f"vgg_gpu_{name}", text, ["gpu"], join="max")
            self._gpu[name].labels(str(number)).set_function(partial(_value, read, name))

    def answered(
        self, model: str, code: int, seconds: float, protocol: Protocol = "predict"
    ) -> None:
        """Count an answer to a request with one photo or several."""
        self._requests_of(model, str(code), protocol).inc()
        self._duration_of(model, protocol).observe(seconds)

    def classified(self, model: str, seconds: Mapping[str, float]) -> None:
        """Count a request that succeeded, by the seconds of each stage: decode, queue, run, rank."""
        for stage, spent in seconds.items():
            self._stage.labels(model, stage).observe(spent)

    def explained(self, model: str) -> None:
        """Count an image in which classes were located."""
        self._explained.labels(model).inc()

    def ran(self, model: str, report: BatchReport) -> None:
        """Count a run."""
        self._batch_size.labels(model).observe(report.images)
        for real, predicted in report.waits:
            self._wait_error.labels(model).observe(abs(real - predicted))

    def rejected(self, reason: str) -> None:
        """Count a problem, by the last part of its type, if its error says that it is counted."""
        if reason in self._rejected:
            self._rejected[reason].inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that an error closed before a request was read, by its slug."""
        self._refused.labels(reason).inc()

    def cancelled(self, stage: str) -> None:
        """Count a client that left, by one of CANCELLED_STAGES."""
        self._cancelled.labels(stage).inc()

    def uploading(self, change: int) -> None:
        """Count bytes of uploads that came into memory, or left it."""
        self._uploads.inc(change)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return render(self.families())

    def families(self) -> list[Family]:
        """Return all metrics as JSON can hold them."""
        own = [
            {
                "name": metric.name,
                "type": metric.type,
                "help": metric.documentation,
                "join": self._joins[metric.name] if metric.type == "gauge" else "sum",
                "samples": [(one.name, one.labels, one.value) for one in metric.samples],
            }
            for metric in self.registry.collect()
        ]
        others: dict[str, Family] = {}
        for family in chain.from_iterable(source() for source in self._sources):
            known = others.setdefault(family["name"], family)
            if known is not family:  # of another model
                known["samples"] += family["samples"]
        return [*own, *others.values()]


def render(families: Iterable[Family]) -> bytes:
    """Return metrics of several processes in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            window = family["type"] == "window"
            metric = Metric(family["name"], family["help"], "gauge" if window else family["type"])
            for name, labels, value in family["samples"]:
                if window:
                    for of, index in windows.indexes(value):
                        metric.add_sample(name, {**labels, "property": of}, index)
                else:
                    metric.add_sample(name, labels, value)
            yield metric


def _value(read: Read, name: str) -> float:
    return read().get(name, float("nan"))
