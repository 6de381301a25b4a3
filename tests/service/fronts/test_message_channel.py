import asyncio
import json
import socket
from dataclasses import asdict, replace
from typing import Any

import pytest

from app.errors import NotReadyError
from app.service.fronts.message_channel import (
    MessageChannel,
    decode_agreement,
    decode_policy,
    encode_model,
)
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.hosted_models import HostedModel
from app.serving.loading import Loaded
from app.weights.calibration.agreement import Agreement
from tests.conftest import started_app

pytestmark = pytest.mark.anyio


async def both_ends():
    ours, theirs = socket.socketpair()
    return await MessageChannel.open(ours), await MessageChannel.open(theirs)


async def test_messages_arrive_whole_and_in_order():
    """Messages of megabytes too, until the other process has gone."""
    one, other = await both_ends()
    sent: list[dict[str, Any]] = [
        {"topic": "a", "n": 1},
        {"topic": "b", "text": "x" * 10**6},
        {"topic": "a", "n": 2},
    ]

    async def send():
        for what in sent:
            one.send(**what)
        await one._writer.drain()
        one.close()

    sending = asyncio.create_task(send())
    received = [what async for what in other.received()]
    await sending
    other.close()

    assert sent == received


async def test_a_message_to_a_process_that_has_gone_is_dropped():
    """The process that sends it is not affected."""
    one, other = await both_ends()
    other.close()
    received = [what async for what in one.received()]
    one.send("late", of=[1, 2])
    one.close()

    assert [] == received


async def test_a_loaded_model_survives_json(model_dir, session):
    """A front has exactly what the owner has of a model, but for its queue."""
    async with started_app(model_dir, session) as app:
        model = app.state.models.get("colours")
        state = json.loads(json.dumps(encode_model(model)))
        policy = decode_policy(state["loaded"].pop("policy"))
        ours = model.loaded
        theirs = Loaded(model.manifest, ours.labels, ours.queue, **state["loaded"])

    assert "ready" == state["state"]
    assert ours.queue.policy == policy
    assert ours == theirs


async def test_the_agreement_of_int8_survives_json(model_dir, session):
    """A front says the same of it as the owner."""
    said = Agreement("6 built-in samples", "ab", 84, 21, 0.97, 0.85, 0.0123, 0.2)
    async with started_app(model_dir, session) as app:
        model = app.state.models.get("colours")
        model.loaded = replace(model.loaded, precision="int8", agreement=said)
        loaded = json.loads(json.dumps(encode_model(model)))["loaded"]

    assert ("int8", said) == (loaded["precision"], decode_agreement(loaded["agreement"]))


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


@pytest.mark.parametrize("explaining", [None, RunCost(0.1, 0.2, ((5, 0.7), (20, 2.2)))])
def test_the_cost_of_explanations_survives_json(explaining):
    """A front knows by it whether a model can be explained."""
    policy = BatchPolicy((1, 2), RunCost(0.1, 0.0, ((1, 0.1),)), explaining=explaining)

    assert policy == decode_policy(json.loads(json.dumps(asdict(policy))))
