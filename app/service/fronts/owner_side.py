"""The owner's side of the connections to its fronts: keeps them up to date, joins their metrics."""

import asyncio
import logging
import socket
import time
from collections import deque
from dataclasses import asdict
from typing import Any, Final

from app.errors import ModelFailedError
from app.service.fronts.image_channel import ImageServer
from app.service.fronts.message_channel import MessageChannel, encode_model
from app.service.fronts.metric_sums import add_up, counts_of
from app.service.fronts.shared_memory import Layout, SharedMemory
from app.serving.batching.queue import Queue
from app.serving.hosted_models import Models
from app.serving.metrics import Family, Metrics, render
from app.web.keys import Keys

log = logging.getLogger(__name__)

_PATIENCE: Final = 2.0
"""Seconds for a front to send its samples; after that its previous ones count."""


class Front:
    """One front process, as the owner sees it; `started` is done once it serves HTTP."""

    def __init__(self, images: ImageServer, messages: MessageChannel) -> None:
        self.images = images
        self.messages = messages
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.samples: list[Family] = []  # its metrics as it last sent them
        self.models: dict[str, Any] = {}  # as they were last sent to it
        self._requests: deque[asyncio.Future[None]] = deque()
        self._silent = False

    async def request_samples(self) -> None:
        """Request its samples and wait for them."""
        if self._silent:  # a front that hangs must not delay every scrape
            return
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.append(sent)
        self.messages.send("samples")
        try:
            await asyncio.wait_for(sent, _PATIENCE)
        except TimeoutError:
            self._silent = True
            log.warning("a front does not send its metrics; using the previous ones")

    def receive_samples(self, samples: list[Family]) -> None:
        """Store its samples, if they can be added up."""
        self.samples, self._silent = add_up([samples]), False
        if self._requests and not (sent := self._requests.popleft()).done():
            sent.set_result(None)


class OwnerSide:
    """All fronts, as the owner sees them."""

    def __init__(
        self, models: Models, layout: Layout, metrics: Metrics, keys: Keys | None = None
    ) -> None:
        self._keys = keys
        self._models = list(models.all().values())
        self._layout = layout
        self._metrics = metrics
        self._fronts: list[Front] = []
        self._ended: list[Family] = []
        self._scrapes: set[asyncio.Task[None]] = set()

    async def connect(self, memory: int, images: socket.socket, messages: socket.socket) -> Front:
        """Connect to a front that was started with the other ends of these sockets."""
        server = ImageServer(SharedMemory(memory, self._layout), self._queue)
        front = Front(server, await MessageChannel.open(messages))
        self._fronts.append(front)
        await server.open(images)
        self.send_keys()  # before the layout, after which the front serves
        front.messages.send("layout", **asdict(self._layout))
        return front

    def send_keys(self) -> None:
        """Send the API keys to every front, including those that are still starting."""
        if self._keys is not None:
            for front in self._fronts:
                front.messages.send("keys", text=self._keys.text)

    async def serve(self, front: Front) -> None:
        """Serve a front until it has gone; then drop its images and keep its counts."""
        try:
            async for message in front.messages.received():
                await self._handle(front, **message)
        except Exception:  # whatever a front sends, the others are not affected
            log.exception("disconnecting a front that sent an invalid message")
        finally:
            self._fronts.remove(front)
            self._ended = add_up([self._ended, counts_of(front.samples)])
            front.images.close()
            front.messages.close()

    def update_queues(self) -> None:
        """Write the states of the queues into the memory of each front."""
        now = time.monotonic()
        memories = [front.images.memory for front in self._fronts]
        for memory in memories:
            memory.updated_at[0] = now
        for number, model in enumerate(self._models):
            if model.loaded is None:
                continue
            queue = model.loaded.queue
            coming = [memory.read_coming(number) for memory in memories]
            queue.coming = sum(images for images, _ in coming)
            queue.asked = sum(classes for _, classes in coming)
            likely, longest = queue.device_wait()
            usable = queue.usable
            for memory in memories:
                memory.next_start[number] = now + likely
                memory.latest_start[number] = now + longest
                memory.usable[number] = usable

    def update_models(self) -> None:
        """Send each front what it does not yet know of the models.

        Before a front learns that a model is loaded, the state of its queue is in the memory: a
        front that finds none refuses photos, as if the model had stopped.
        """
        self.update_queues()
        for number, model in enumerate(self._models):
            name, encoded = model.manifest.name, encode_model(model)
            for front in self._fronts:
                if front.models.get(name) != encoded:
                    front.models[name] = encoded
                    front.messages.send("model", number=number, name=name, model=encoded)

    async def tell_models(self) -> None:
        """Send each front what it does not yet know of the models, and wait until it knows.

        A front handles messages in their order, so that it knows once it has answered a later one.
        """
        self.update_models()
        await asyncio.gather(*[front.request_samples() for front in self._fronts])

    def disconnect(self) -> None:
        """Disconnect all fronts, which then end."""
        for front in self._fronts:
            front.messages.close()

    async def scrape(self) -> bytes:
        """Return the metrics of all processes in Prometheus's text format."""
        await asyncio.gather(*[front.request_samples() for front in self._fronts])
        self.update_queues()  # the depth of a queue includes the images that come to each front
        own = self._metrics.families()
        return render(add_up([own, self._ended, *[front.samples for front in self._fronts]]))

    async def _handle(self, front: Front, topic: str, **content: Any) -> None:  # noqa: ANN401 (JSON)
        match topic:
            case "started":
                if not front.started.done():
                    front.started.set_result(None)
            case "samples":
                front.receive_samples(content["of"])
            case "scrape":
                scrape = asyncio.create_task(self._send_scrape(front, content["number"]))
                self._scrapes.add(scrape)
                scrape.add_done_callback(self._scrapes.discard)
            case "charge":
                for other in self._fronts:
                    if other is not front:
                        other.messages.send("charge", **content)

    async def _send_scrape(self, front: Front, number: int) -> None:
        front.messages.send("scraped", number=number, text=(await self.scrape()).decode())

    def _queue(self, number: int) -> Queue:
        loaded = self._models[number].loaded
        if loaded is None:
            raise ModelFailedError("The model has stopped.")
        return loaded.queue
