"""A model's state as JSON, as the owner sends it to the fronts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from app.records import Label
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.queue import Queue
from app.serving.hosted_models import HostedModel
from app.serving.loading import Loaded
from app.weights.manifests import Manifest

_SAME = ("device", "weights_sha256", "trained", "precision", "devices", "convolutions")


def encode_model(model: HostedModel) -> dict[str, Any]:
    """Return how far a model is; and once it is ready, what the fronts do not know of it."""
    loaded = model.loaded
    state: dict[str, Any] = {"state": model.state, "progress": model.progress, "loaded": None}
    if loaded is not None:
        same = {name: getattr(loaded, name) for name in _SAME}
        state["loaded"] = {**same, "policy": asdict(loaded.queue.policy)}
    return state


def decode_loaded(
    encoded: dict[str, Any],
    manifest: Manifest,
    labels: Sequence[Label],
    make_queue: Callable[[BatchPolicy], Queue],
) -> Loaded:
    """Return the `loaded` of an encoded model, with another queue."""
    policy = encoded["policy"]
    cost = policy["cost"]
    cost = RunCost(**cost | {"measured": tuple((size, least) for size, least in cost["measured"])})
    queue = make_queue(BatchPolicy(**policy | {"sizes": tuple(policy["sizes"]), "cost": cost}))
    return Loaded(manifest, labels, queue, **{name: encoded[name] for name in _SAME})
