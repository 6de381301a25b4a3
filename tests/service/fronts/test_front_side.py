"""The front's side of the conversation with the owner."""

import asyncio
import os
import re
import socket
from contextlib import asynccontextmanager

import pytest

from app.service.app import create_app
from app.service.fronts.front_side import Link
from app.service.fronts.owner_side import Hub
from app.service.fronts.shared_memory import Shape, make_block
from app.service.settings import Settings
from app.serving.metrics import Metrics
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio
SHAPE = Shape((32,), slots=12)


class Both:
    """An owner and a front, in one process."""

    def __init__(self, owner, front, hub, served):
        self.owner, self.front, self.hub, self.served = owner, front, hub, served


@asynccontextmanager
async def opened(model_dir, session, **settings):
    async with started_app(model_dir, session) as owner:
        hub = Hub(owner.state.models, SHAPE, Metrics())
        descriptor = make_block(SHAPE)
        images, their_images = socket.socketpair()
        words, their_words = socket.socketpair()
        link = Link(descriptor, their_images, their_words)
        chosen = Settings(models=("colours",), model_dir=model_dir, front_processes=1, **settings)
        app = create_app(chosen, link=link)
        joined = await hub.join(descriptor, images, words)
        served = asyncio.create_task(hub.serve(joined))
        async with app.router.lifespan_context(app):
            await joined.started.wait()
            yield Both(owner, app, hub, served)
        await asyncio.wait_for(served, 10)
        os.close(descriptor)


async def turn_until(done):
    while not done():  # noqa: ASYNC110 (what the loop has to do is all that it waits for)
        await asyncio.sleep(0)


async def test_a_front_becomes_what_the_owner_is(model_dir, session):
    """Not ready before it is told, then the same description of the model, then right answers."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        early = await client.get("/readyz")
        both.hub.post()
        both.hub.tell_news()
        await turn_until(lambda: both.front.state.models.ready)
        ready = await client.get("/readyz")
        answer = await client.post("/predict?top_k=1", content=png("lime"))
        theirs = await client.get("/models/colours")
        async with client_of(both.owner) as ours:
            same = await ours.get("/models/colours")

    assert [503, 200] == [early.status_code, ready.status_code]
    assert "waiting" not in ready.text
    assert 1 == answer.json()["predictions"][0]["class_index"]
    assert same.json() == theirs.json()


async def test_metrics_come_from_the_owner(model_dir, session):
    """A scrape of the front counts what others have, the run too, which was not made here."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        both.hub._metrics.answered("colours", 200, 0.1)
        both.hub.post()
        both.hub.tell_news()
        await turn_until(lambda: both.front.state.models.ready)
        await client.post("/predict", content=png())
        text = (await client.get("/metrics")).text
        await turn_until(lambda: not both.hub._scrapes)

    found = re.search(r'vgg_requests_total\{code="200",model="colours"\} (\S+)', text)
    assert found is not None
    assert 2 == float(found[1])


async def test_without_an_owner_nothing_is_answered(model_dir, session):
    """Once it has gone the front says so, still tells its own metrics, and has no more to do."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        both.hub.post()
        both.hub.tell_news()
        await turn_until(lambda: both.front.state.models.ready)
        both.hub.dismiss()
        await both.front.state.loading
        states = [
            (await client.post("/predict", content=png())).status_code,
            (await client.get("/readyz")).status_code,
            (await client.get("/metrics")).status_code,
        ]

    assert [503, 503, 200] == states


async def test_tokens_of_other_fronts_are_missed_here(model_dir, session):
    """A client that has had its tokens elsewhere gets none here."""
    async with opened(model_dir, session, rate_limit=0.001, rate_burst=1) as both:
        both.hub.post()
        both.hub.tell_news()
        await turn_until(lambda: both.front.state.models.ready)
        both.hub._fronts[0].words.say("charge", client="127.0.0.1")
        async with client_of(both.front) as client:
            await client.get("/metrics")  # goes the same way, and so comes after it
            refused = await client.post("/predict", content=png())

    assert 429 == refused.status_code
