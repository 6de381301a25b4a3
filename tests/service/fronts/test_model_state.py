import json

import pytest

from app.errors import NotReadyError
from app.service.fronts.model_state import decode_loaded, encode_model
from app.serving.hosted_models import HostedModel
from tests.conftest import started_app

pytestmark = pytest.mark.anyio


async def test_a_loaded_model_survives_json(model_dir, session):
    """A front has exactly what the owner has of a model, but for its queue."""
    async with started_app(model_dir, session) as app:
        model = app.state.models.get("colours")
        state = json.loads(json.dumps(encode_model(model)))
        policies = []

        def make_queue(policy):
            policies.append(policy)
            return model.loaded.queue

        loaded = decode_loaded(state["loaded"], model.manifest, model.loaded.labels, make_queue)

    assert "ready" == state["state"]
    assert [model.loaded.queue.policy] == policies
    assert model.loaded == loaded


async def test_a_model_that_loads_has_a_state_and_progress(model_dir, session):
    """There is nothing else to send yet."""
    async with started_app(model_dir, session) as app:
        model = HostedModel(app.state.models.get("colours").manifest)
    model.state = "loading"
    model.report_progress("fetching", 12, 100)
    state = json.loads(json.dumps(encode_model(model)))

    assert {"state": "loading", "progress": ["fetching", 12, 100], "loaded": None} == state
    with pytest.raises(NotReadyError, match="fetching"):
        model.ready()
