"""The owner's side of the conversation with its fronts."""

import asyncio
import os
import re
import socket
import time

import pytest

from app.service.fronts.message_channel import Words
from app.service.fronts.owner_side import Hub
from app.service.fronts.shared_memory import Block, Shape, make_block
from app.serving.metrics import Metrics
from tests.conftest import started_app

pytestmark = pytest.mark.anyio
SHAPE = Shape((32,), slots=2)


class Fake:
    """A front, of which a test is the process."""

    def __init__(self, hub, requests):
        self.hub = hub
        self.metrics = Metrics()
        for _ in range(requests):
            self.metrics.answered("colours", 200, 0.01)
        self.heard = []

    async def open(self):
        descriptor = make_block(SHAPE)
        images, self.images = socket.socketpair()
        words, theirs = socket.socketpair()
        self.block = Block(descriptor, SHAPE)
        self.words = await Words.open(theirs)
        self.front = await self.hub.join(descriptor, images, words)
        os.close(descriptor)
        self.served = asyncio.create_task(self.hub.serve(self.front))
        self.listening = asyncio.create_task(self.listen())
        return self

    async def listen(self):
        async for said in self.words.heard():
            self.heard.append(said)
            if said["topic"] == "samples":
                self.words.say("samples", of=self.metrics.families())

    async def hear(self, topic):
        while True:
            for said in self.heard:
                if said["topic"] == topic:
                    self.heard.remove(said)
                    return said
            await asyncio.sleep(0)

    async def close(self):
        self.words.close()
        self.images.close()
        await asyncio.wait({self.served, self.listening})


@pytest.fixture
async def hub(model_dir, session):
    metrics = Metrics()
    async with started_app(model_dir, session) as app:
        yield Hub(app.state.models, SHAPE, metrics)


def requests_of(text):
    found = re.search(
        r'^vgg_requests_total\{code="200",model="colours"\} (\S+)$', text, re.MULTILINE
    )
    return float(found[1]) if found else 0.0


async def test_a_front_is_told_how_it_is_laid_out_and_what_there_is(hub):
    """First the shape of the block, then each model; what has not changed is not said again."""
    fake = await Fake(hub, 0).open()
    hub.tell_news()
    hub.tell_news()
    shape, model = await fake.hear("shape"), await fake.hear("model")
    await fake.close()

    assert {"topic": "shape", "crops": [32], "slots": 2} == shape
    assert ("colours", 0, "ready") == (model["name"], model["number"], model["facts"]["state"])
    assert [] == fake.heard


async def test_any_front_is_told_the_sums(hub):
    """A scrape asks all of them, and nothing is missing that was counted before it."""
    fakes = [await Fake(hub, requests).open() for requests in (1, 2)]
    texts = []
    for number, fake in enumerate(fakes):
        fake.words.say("scrape", number=number)
        scraped = await fake.hear("scraped")
        texts.append((scraped["number"], requests_of(scraped["text"])))
        fakes[0].metrics.answered("colours", 200, 0.01)
    for fake in fakes:
        await fake.close()

    assert [(0, 3.0), (1, 4.0)] == texts


async def test_no_sum_falls_when_a_front_goes(hub):
    """What it had told of its counts is kept, and what is asked of it then waits for nobody."""
    fakes = [await Fake(hub, requests).open() for requests in (1, 2)]
    before = requests_of((await hub.scrape()).decode())
    await fakes[1].close()
    after = requests_of((await hub.scrape()).decode())
    await fakes[0].close()

    assert (3.0, 3.0) == (before, after)


async def test_a_token_is_told_to_all_others(hub):
    """The front that gave it out has counted it itself."""
    fakes = [await Fake(hub, 0).open() for _ in range(3)]
    fakes[0].words.say("charge", client="a")
    told = [await fake.hear("charge") for fake in fakes[1:]]
    for fake in fakes:
        await fake.close()

    assert [{"topic": "charge", "client": "a"}] * 2 == told
    assert "charge" not in [said["topic"] for said in fakes[0].heard]


async def test_boards_show_the_queue_with_what_comes_to_all(hub):
    """Images on their way to any front make the wait longer for those of every front."""
    fakes = [await Fake(hub, 0).open() for _ in range(2)]
    hub.post()
    free = fakes[1].block.free_at[0] - time.monotonic()
    fakes[0].block.coming[0] = 10_000
    hub.post()
    full = fakes[1].block.free_at[0] - time.monotonic()
    usable, beat = fakes[1].block.usable[0], fakes[1].block.beat[0]
    for fake in fakes:
        await fake.close()

    assert free <= 0 < full
    assert 1.0 == usable
    assert time.monotonic() - beat < 10


async def test_fronts_can_be_sent_away(hub):
    """The end of the conversation is how they learn that the owner ends."""
    fake = await Fake(hub, 0).open()
    hub.dismiss()
    await asyncio.wait_for(fake.listening, 10)
    await fake.close()

    assert fake.served.done()


async def test_a_front_that_talks_nonsense_is_sent_away(hub, caplog):
    """Neither half a line nor a wrong one harms the owner or the other fronts."""
    fakes = [await Fake(hub, 1).open() for _ in range(2)]
    fakes[0].words.say("samples", of=5)
    await asyncio.wait_for(fakes[0].served, 10)
    left = requests_of((await hub.scrape()).decode())
    for fake in fakes:
        await fake.close()

    assert "cannot be understood" in caplog.text
    assert 1.0 == left


async def test_what_cannot_be_is_not_believed(hub):
    """A front that writes nonsense into its memory counts as one for which nothing comes."""
    fake = await Fake(hub, 0).open()
    free = []
    for nonsense in (float("nan"), -5, float("inf")):
        fake.block.coming[0] = nonsense
        hub.post()
        free.append(fake.block.free_at[0] - time.monotonic())
    await fake.close()

    assert max(free) <= 0
