"""Triton's statistics of a model, out of the metrics of all processes."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from app.serving.hosted_models import HostedModel
from app.web.protocols.oip.answer import VERSION

_SAMPLE: Final = re.compile(r"^(vgg_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_STAGES: Final = {
    "queue": "queue",
    "compute_input": "decode",
    "compute_infer": "run",
    "compute_output": "rank",
}
"""By Triton's name, the stage of `vgg_stage_duration_seconds`."""
_FIRST_ERROR: Final = 400


def stats_of(model: HostedModel, scraped: str) -> dict[str, Any]:
    """Return what a model did since the start of the service.

    Numbers are of images, as each is queued and run by itself. `fail` counts requests. A batch is
    listed under the size that it was padded to, with the duration that was measured at the start.

    Args:
        model: Which one.
        scraped: All metrics in Prometheus's text format.
    """
    name = model.manifest.name
    stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    numbers: dict[str, float] = defaultdict(float)
    runs: dict[float, float] = {}
    failed = 0.0
    for metric, labels, value in _samples(scraped):
        if labels.get("model") != name:
            continue
        match metric:
            case "vgg_stage_duration_seconds_count":
                stages[labels["stage"]][0] += value
            case "vgg_stage_duration_seconds_sum":
                stages[labels["stage"]][1] += value
            case "vgg_batch_size_bucket":
                runs[float(labels["le"])] = value
            case "vgg_requests_total" if int(labels["code"]) >= _FIRST_ERROR:
                failed += value
            case _:
                numbers[metric] += value
    spent = sum(seconds for _, seconds in stages.values())
    whole = numbers["vgg_request_duration_seconds_sum"]
    return {
        "name": name,
        "version": VERSION,
        "last_inference": 0,  # is not recorded
        "inference_count": int(numbers["vgg_batch_size_sum"]),
        "execution_count": int(numbers["vgg_batch_size_count"]),
        "inference_stats": {
            "success": _duration(stages["rank"][0], spent),
            "fail": _duration(failed, max(0.0, whole - spent) if failed else 0.0),
            **{title: _duration(*stages[stage]) for title, stage in _STAGES.items()},
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "batch_stats": [_batch(model, size, number) for size, number in _per_size(runs)],
    }


def _batch(model: HostedModel, size: int, number: float) -> dict[str, Any]:
    cost = model.loaded.queue.policy.cost if model.loaded else None
    seconds = (dict(cost.measured).get(size) or cost(size)) if cost else 0.0
    return {
        "batch_size": size,
        "compute_input": _duration(number, 0),
        "compute_infer": _duration(number, number * seconds),
        "compute_output": _duration(number, 0),
    }


def _per_size(runs: dict[float, float]) -> Iterator[tuple[int, float]]:
    """Yield each batch size that ran, and how often; buckets count smaller ones too."""
    below = 0.0
    for size, number in sorted(runs.items()):
        if number > below and size != float("inf"):
            yield int(size), number - below
        below = number


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": int(count), "ns": round(1e9 * seconds)}


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for metric, labels, value in _SAMPLE.findall(text):
        yield metric, dict(_LABEL.findall(labels)), float(value)
