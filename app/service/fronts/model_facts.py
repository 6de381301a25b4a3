"""What the owner tells the fronts of a model: where it stands and, once it is ready, what it is."""

from dataclasses import asdict
from typing import Any

from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.classifier import Classifier
from app.serving.hosted_models import HostedModel
from app.serving.loading import Loaded

_SAME = ("device", "weights_sha256", "trained", "precision", "devices", "convolutions")


def facts_of(model: HostedModel) -> dict[str, Any]:
    """Describe a model so that JSON can hold it."""
    loaded = model.loaded
    facts: dict[str, Any] = {"state": model.state, "progress": model.progress, "loaded": None}
    if loaded is not None:
        same = {name: getattr(loaded, name) for name in _SAME}
        policy = asdict(loaded.classifier.batcher.policy)
        facts["loaded"] = {**same, "policy": policy, "cost": asdict(loaded.cost)}
    return facts


def policy_of(facts: dict[str, Any]) -> BatchPolicy:
    """Return the policy of a model that is ready."""
    policy = facts["loaded"]["policy"]
    return BatchPolicy(**policy | {"sizes": tuple(policy["sizes"]), "cost": _cost(policy["cost"])})


def loaded_of(facts: dict[str, Any], classifier: Classifier) -> Loaded:
    """Return the same as the owner has of a model that is ready, but for its classifier."""
    loaded = facts["loaded"]
    same = {name: loaded[name] for name in _SAME}
    return Loaded(classifier=classifier, cost=_cost(loaded["cost"]), **same)


def _cost(told: dict[str, Any]) -> RunCost:
    measured = tuple((size, seconds) for size, seconds in told["measured"])
    return RunCost(told["per_image"], told["per_run"], measured)
