import asyncio
import os
import re
import socket
import time

import pytest

from app.service.fronts.message_channel import MessageChannel
from app.service.fronts.owner_side import OwnerSide
from app.service.fronts.shared_memory import Layout, SharedMemory, allocate
from app.serving.metrics import Metrics
from tests.conftest import started_app

pytestmark = pytest.mark.anyio
LAYOUT = Layout((32,), (1000,), slots=2)


class FakeFront:
    """A front process, played by the test."""

    def __init__(self, owner, requests):
        self.owner = owner
        self.metrics = Metrics()
        for _ in range(requests):
            self.metrics.answered("colours", 200, 0.01)
        self.inbox = []

    async def open(self):
        descriptor = allocate(LAYOUT)
        images, self.images = socket.socketpair()
        messages, theirs = socket.socketpair()
        self.memory = SharedMemory(descriptor, LAYOUT)
        self.messages = await MessageChannel.open(theirs)
        self.front = await self.owner.connect(descriptor, images, messages)
        os.close(descriptor)
        self.served = asyncio.create_task(self.owner.serve(self.front))
        self.listening = asyncio.create_task(self.listen())
        return self

    async def listen(self):
        async for message in self.messages.received():
            self.inbox.append(message)
            if message["topic"] == "samples":
                self.messages.send("samples", of=self.metrics.families())

    async def receive(self, topic):
        while True:
            for message in self.inbox:
                if message["topic"] == topic:
                    self.inbox.remove(message)
                    return message
            await asyncio.sleep(0)

    async def close(self):
        self.messages.close()
        self.images.close()
        await asyncio.wait({self.served, self.listening})


@pytest.fixture
async def owner(model_dir, session):
    metrics = Metrics()
    async with started_app(model_dir, session) as app:
        yield OwnerSide(app.state.models, LAYOUT, metrics)


def requests_of(text):
    found = re.search(
        r'^vgg_requests_total\{code="200",model="colours",protocol="predict"\} (\S+)$',
        text,
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


async def test_a_front_gets_the_layout_and_the_models(owner):
    """First the layout of the memory, then each model; what has not changed is not sent again."""
    front = await FakeFront(owner, 0).open()
    owner.update_models()
    owner.update_models()
    layout, model = await front.receive("layout"), await front.receive("model")
    await front.close()

    expected = {"topic": "layout", "crops": [32], "classes": [1000], "slots": 2}
    expected["map_floats"] = 0
    assert expected == layout
    assert ("colours", 0, "ready") == (model["name"], model["number"], model["model"]["state"])
    assert [] == front.inbox


async def test_what_is_told_is_known(owner):
    """Once it has been told, each front has taken the message in."""
    fronts = [await FakeFront(owner, requests=0).open() for _ in range(2)]

    await owner.tell_models()
    topics = [[message["topic"] for message in front.inbox] for front in fronts]
    for front in fronts:
        await front.close()

    assert [["layout", "model", "samples"]] * 2 == topics


async def test_any_front_gets_the_sums(owner):
    """A scrape asks all fronts, and includes everything counted before it."""
    fronts = [await FakeFront(owner, requests).open() for requests in (1, 2)]
    texts = []
    for number, front in enumerate(fronts):
        front.messages.send("scrape", number=number)
        scraped = await front.receive("scraped")
        texts.append((scraped["number"], requests_of(scraped["text"])))
        fronts[0].metrics.answered("colours", 200, 0.01)
    for front in fronts:
        await front.close()

    assert [(0, 3.0), (1, 4.0)] == texts


async def test_no_sum_falls_when_a_front_ends(owner):
    """The counts that it has sent are kept, and a later scrape does not wait for it."""
    fronts = [await FakeFront(owner, requests).open() for requests in (1, 2)]
    before = requests_of((await owner.scrape()).decode())
    await fronts[1].close()
    after = requests_of((await owner.scrape()).decode())
    await fronts[0].close()

    assert (3.0, 3.0) == (before, after)


async def test_a_token_is_reported_to_all_other_fronts(owner):
    """The front that gave it has counted it itself."""
    fronts = [await FakeFront(owner, 0).open() for _ in range(3)]
    fronts[0].messages.send("charge", client="a")
    received = [await front.receive("charge") for front in fronts[1:]]
    for front in fronts:
        await front.close()

    assert [{"topic": "charge", "client": "a"}] * 2 == received
    assert "charge" not in [message["topic"] for message in fronts[0].inbox]


async def test_each_memory_has_the_queue_with_the_images_that_come_to_all_fronts(owner):
    """Images that come to one front make the predicted wait longer in every front."""
    fronts = [await FakeFront(owner, 0).open() for _ in range(2)]
    owner.update_queues()
    free = fronts[1].memory.next_start[0] - time.monotonic()
    fronts[0].memory.coming[0] = 10_000
    owner.update_queues()
    full = fronts[1].memory.next_start[0] - time.monotonic()
    usable, updated_at = fronts[1].memory.usable[0], fronts[1].memory.updated_at[0]
    for front in fronts:
        await front.close()

    assert free <= 0 < full
    assert 1.0 == usable
    assert time.monotonic() - updated_at < 10


async def test_what_images_ask_that_come_to_the_fronts_counts_for_the_queue(owner):
    """The owner's queue has the sum of all fronts, by which it predicts the wait."""
    fronts = [await FakeFront(owner, 0).open() for _ in range(2)]
    for front, images, classes in zip(fronts, (1, 2), (5, 40), strict=True):
        front.memory.coming[0], front.memory.asked[0] = images, classes
    owner.update_queues()
    queue = owner._queue(0)
    for front in fronts:
        await front.close()

    assert (3, 45) == (queue.coming, queue.asked)


async def test_fronts_can_be_disconnected(owner):
    """The end of the connection tells them that the owner ends."""
    front = await FakeFront(owner, 0).open()
    owner.disconnect()
    await asyncio.wait_for(front.listening, 10)
    await front.close()

    assert front.served.done()


async def test_a_front_that_sends_an_invalid_message_is_disconnected(owner, caplog):
    """It harms neither the owner nor the other fronts."""
    fronts = [await FakeFront(owner, 1).open() for _ in range(2)]
    fronts[0].messages.send("samples", of=5)
    await asyncio.wait_for(fronts[0].served, 10)
    left = requests_of((await owner.scrape()).decode())
    for front in fronts:
        await front.close()

    assert "sent an invalid message" in caplog.text
    assert 1.0 == left


async def test_an_impossible_number_of_images_counts_as_none(owner):
    """A front that writes nonsense into its memory does not make the others wait."""
    front = await FakeFront(owner, 0).open()
    free = []
    for nonsense in (float("nan"), -5, float("inf")):
        front.memory.coming[0] = nonsense
        owner.update_queues()
        free.append(front.memory.next_start[0] - time.monotonic())
    await front.close()

    assert max(free) <= 0
