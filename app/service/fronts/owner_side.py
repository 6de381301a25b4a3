"""The owner's side of the conversation: what it tells the fronts, and what they ask of each other."""

import asyncio
import logging
import socket
import time
from collections import deque
from typing import Any, Final

from app.errors import ModelFailedError
from app.service.fronts.image_server import Desk
from app.service.fronts.message_channel import Words
from app.service.fronts.metric_sums import add_up, counts_of
from app.service.fronts.model_facts import facts_of
from app.service.fronts.shared_memory import Block, Shape
from app.serving.batching.queue import Queue
from app.serving.hosted_models import Models
from app.serving.loading import Loaded
from app.serving.metrics import Family, Metrics, render

log = logging.getLogger(__name__)

_BOARD: Final = 0.01
"""Seconds between two looks at the queues for the boards."""
_NEWS: Final = 0.1
"""Seconds between two looks at what the models are at."""
_PATIENCE: Final = 2.0
"""Seconds for a front to tell its samples; after that those that it told last count."""


class Front:
    """One front process, as the owner sees it.

    Attributes:
        started: Set once it serves.
    """

    def __init__(self, desk: Desk, words: Words) -> None:
        """Know nothing of it yet."""
        self.desk = desk
        self.words = words
        self.started = asyncio.Event()
        self.samples: list[Family] = []
        self.facts: dict[str, Any] = {}
        self._asked: deque[asyncio.Future[None]] = deque()
        self._silent = False

    async def ask(self) -> None:
        """Have it tell its samples."""
        if self._silent:  # one that hangs shall not keep every scrape waiting
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(told)
        self.words.say("samples")
        try:
            await asyncio.wait_for(told, _PATIENCE)
        except TimeoutError:
            self._silent = True
            log.warning("a front does not answer; its last samples count")

    def tell(self, samples: list[Family]) -> None:
        """Take in its samples, if they are such that they can be added up."""
        self.samples, self._silent = add_up([samples]), False
        if self._asked and not (told := self._asked.popleft()).done():
            told.set_result(None)


class Hub:
    """What all fronts are told."""

    def __init__(self, models: Models, shape: Shape, metrics: Metrics) -> None:
        """Begin with no fronts.

        Args:
            models: The owner's.
            shape: Of the block of each front.
            metrics: The owner's.
        """
        self._models = list(models.all().values())
        self._shape = shape
        self._metrics = metrics
        self._fronts: list[Front] = []
        self._gone: list[Family] = []
        self._scrapes: set[asyncio.Task[None]] = set()

    async def join(self, block: int, images: socket.socket, words: socket.socket) -> Front:
        """Take in a front that was started with the other ends of these sockets."""
        desk = Desk(Block(block, self._shape), self._queue)
        front = Front(desk, await Words.open(words))
        self._fronts.append(front)
        await desk.open(images)
        front.words.say("shape", crops=list(self._shape.crops), slots=self._shape.slots)
        return front

    async def serve(self, front: Front) -> None:
        """Listen to a front until it has gone; then drop its images and keep its counts."""
        try:
            async for said in front.words.heard():
                await self._heed(front, **said)
        except Exception:  # whatever nonsense it says, the others have nothing to do with it
            log.exception("a front cannot be understood, and is sent away")
        finally:
            self._fronts.remove(front)
            self._gone = add_up([self._gone, counts_of(front.samples)])
            front.desk.close()
            front.words.close()

    async def publish(self) -> None:
        """Keep the boards up to date, for ever."""
        while True:
            self.post()
            await asyncio.sleep(_BOARD)

    def post(self) -> None:
        """Write on the boards how the queues stand."""
        now = time.monotonic()
        blocks = [front.desk.block for front in self._fronts]
        for block in blocks:
            block.beat[0] = now
        for number, model in enumerate(self._models):
            if model.loaded is not None:
                self._write(blocks, number, model.loaded, now)

    async def report(self) -> None:
        """Tell the fronts what has changed of the models, for ever."""
        while True:
            self.tell_news()
            await asyncio.sleep(_NEWS)

    def tell_news(self) -> None:
        """Tell each front what it does not know yet."""
        for number, model in enumerate(self._models):
            name, facts = model.manifest.name, facts_of(model)
            for front in self._fronts:
                if front.facts.get(name) != facts:
                    front.facts[name] = facts
                    front.words.say("model", number=number, name=name, facts=facts)

    def dismiss(self) -> None:
        """Have all fronts end."""
        for front in self._fronts:
            front.words.close()

    async def scrape(self) -> bytes:
        """Return the metrics of all processes in Prometheus's text format."""
        await asyncio.gather(*[front.ask() for front in self._fronts])
        self.post()  # the depth of a queue counts what comes to each front
        own = self._metrics.families()
        return render(add_up([own, self._gone, *[front.samples for front in self._fronts]]))

    async def _heed(self, front: Front, topic: str, **said: Any) -> None:  # noqa: ANN401 (JSON)
        match topic:
            case "started":
                front.started.set()
            case "samples":
                front.tell(said["of"])
            case "scrape":
                scrape = asyncio.create_task(self._answer(front, said["number"]))
                self._scrapes.add(scrape)
                scrape.add_done_callback(self._scrapes.discard)
            case "charge":
                for other in self._fronts:
                    if other is not front:
                        other.words.say("charge", **said)

    async def _answer(self, front: Front, number: int) -> None:
        front.words.say("scraped", number=number, text=(await self.scrape()).decode())

    def _queue(self, number: int) -> Queue:
        loaded = self._models[number].loaded
        if loaded is None:
            raise ModelFailedError("The model has stopped answering.")
        return loaded.classifier.batcher

    def _write(self, blocks: list[Block], number: int, loaded: Loaded, now: float) -> None:
        queue = loaded.classifier.batcher
        queue.coming = coming = sum(block.count_coming(number) for block in blocks)
        free_at, late_at = now + queue.predicted_wait(coming), now + queue.longest_wait(coming)
        usable = queue.usable
        for block in blocks:
            block.free_at[number] = free_at
            block.late_at[number] = late_at
            block.usable[number] = usable
