"""The front's side of the conversation with the owner."""

import asyncio
import os
import re
import socket
from contextlib import asynccontextmanager

import pytest

from app.service.app import create_app
from app.service.fronts.front_side import OwnerConnection
from app.service.fronts.owner_side import OwnerSide
from app.service.fronts.shared_memory import Layout, allocate
from app.service.settings import Settings
from app.serving.metrics import Metrics
from app.setup_errors import SetupError
from app.web.keys import Keys, make_key
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio
LAYOUT = Layout((32,), (1000,), slots=12)


class Both:
    """An owner and a front, in one process."""

    def __init__(self, owner, front, owner_side, served):
        self.owner, self.front, self.owner_side, self.served = owner, front, owner_side, served


@asynccontextmanager
async def opened(model_dir, session, **settings):
    file = settings.get("api_keys_file")
    async with started_app(model_dir, session) as owner:
        keys = Keys(file) if file else None
        owner_side = OwnerSide(owner.state.models, LAYOUT, Metrics(), keys)
        descriptor = allocate(LAYOUT)
        images, their_images = socket.socketpair()
        messages, their_messages = socket.socketpair()
        connection = OwnerConnection(descriptor, their_images, their_messages)
        chosen = Settings(models=("colours",), model_dir=model_dir, front_processes=1, **settings)
        app = create_app(chosen, owner=connection)
        joined = await owner_side.connect(descriptor, images, messages)
        served = asyncio.create_task(owner_side.serve(joined))
        async with app.router.lifespan_context(app):
            yield Both(owner, app, owner_side, served)
        await asyncio.wait_for(served, 10)
        os.close(descriptor)


async def test_no_request_is_answered_before_the_keys_have_come(model_dir, session, tmp_path):
    """A starting front is never without keys: its port opens once the owner has sent them."""
    file = tmp_path / "keys"
    key, line = make_key("alice")
    file.write_text(line)
    async with (
        opened(model_dir, session, api_keys_file=file) as both,
        client_of(both.front) as client,
    ):
        client.headers["authorization"] = f"Bearer {key}"
        first = await client.get("/metrics")

    assert 200 == first.status_code


async def turn_until(done):
    while not done():  # noqa: ASYNC110 (what the loop has to do is all that it waits for)
        await asyncio.sleep(0)


async def test_a_front_becomes_what_the_owner_is(model_dir, session):
    """First it is not ready, then it has the owner's description of the model and right answers."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        early = await client.get("/readyz")
        both.owner_side.update_models()
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
    """A scrape of a front includes the counts of other processes and of the run in the owner."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        both.owner_side._metrics.answered("colours", 200, 0.1)
        both.owner_side.update_queues()
        both.owner_side.update_models()
        await turn_until(lambda: both.front.state.models.ready)
        await client.post("/predict", content=png())
        text = (await client.get("/metrics")).text
        await turn_until(lambda: not both.owner_side._scrapes)

    found = re.search(
        r'vgg_requests_total\{code="200",model="colours",protocol="predict"\} (\S+)', text
    )
    assert found is not None
    assert 2 == float(found[1])


async def test_without_an_owner_nothing_is_answered(model_dir, session):
    """Once the owner has gone, a front answers 503, except for its own metrics."""
    async with opened(model_dir, session) as both, client_of(both.front) as client:
        both.owner_side.update_queues()
        both.owner_side.update_models()
        await turn_until(lambda: both.front.state.models.ready)
        both.owner_side.disconnect()
        await both.front.state.loading
        states = [
            (await client.post("/predict", content=png())).status_code,
            (await client.get("/readyz")).status_code,
            (await client.get("/metrics")).status_code,
        ]

    assert [503, 503, 200] == states


async def test_tokens_given_by_other_fronts_count(model_dir, session):
    """A client that has had its tokens from another front gets none from this one."""
    async with opened(model_dir, session, rate_limit=0.001, rate_burst=1) as both:
        both.owner_side.update_queues()
        both.owner_side.update_models()
        await turn_until(lambda: both.front.state.models.ready)
        both.owner_side._fronts[0].messages.send("charge", client="127.0.0.1")
        async with client_of(both.front) as client:
            await client.get("/metrics")  # goes the same way, and so comes after it
            refused = await client.post("/predict", content=png())

    assert 429 == refused.status_code


async def test_many_keys_reach_a_front(model_dir, session, tmp_path):
    """A file of 16 MB of keys is one message, and the last key in it lets its holder in."""
    file = tmp_path / "keys"
    key, line = make_key("last")
    other = " sha256:" + "0" * 64
    file.write_text("".join(f"holder{number:06}{other}\n" for number in range(180_000)) + line)
    async with (
        opened(model_dir, session, api_keys_file=file) as both,
        client_of(both.front) as client,
    ):
        answer = await client.get("/metrics", headers={"authorization": f"Bearer {key}"})

    assert file.stat().st_size > 15e6
    assert 200 == answer.status_code


async def test_a_front_without_an_owner_does_not_start(model_dir):
    """It fails its start; without keys it would refuse every client's key."""
    images, their_images = socket.socketpair()
    messages, their_messages = socket.socketpair()
    descriptor = allocate(LAYOUT)
    settings = Settings(models=("colours",), model_dir=model_dir, front_processes=1)
    app = create_app(settings, owner=OwnerConnection(descriptor, their_images, their_messages))
    messages.close()

    with pytest.raises(SetupError, match="has ended"):
        async with app.router.lifespan_context(app):
            pass

    for one in (images, their_images):
        one.close()
    os.close(descriptor)
