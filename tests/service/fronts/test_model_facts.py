"""What fronts are told of a model."""

import json

import pytest

from app.errors import NotReadyError
from app.service.fronts.model_facts import facts_of, loaded_of, policy_of
from app.serving.hosted_models import HostedModel
from tests.conftest import started_app

pytestmark = pytest.mark.anyio


async def test_facts_survive_json(model_dir, session):
    """A front has of a model exactly what the owner has."""
    async with started_app(model_dir, session) as app:
        model = app.state.models.get("colours")
        facts = json.loads(json.dumps(facts_of(model)))
        classifier = model.loaded.classifier

        assert "ready" == facts["state"]
        assert classifier.batcher.policy == policy_of(facts)
        assert model.loaded == loaded_of(facts, classifier)


async def test_a_model_that_loads_says_how_far_it_is(model_dir, session):
    """Its state and its progress are told before there is anything else."""
    async with started_app(model_dir, session) as app:
        model = HostedModel(app.state.models.get("colours").manifest)
    model.state = "loading"
    model.note("fetching", 12, 100)
    facts = json.loads(json.dumps(facts_of(model)))

    assert {"state": "loading", "progress": ["fetching", 12, 100], "loaded": None} == facts
    with pytest.raises(NotReadyError, match="fetching"):
        model.ready()
