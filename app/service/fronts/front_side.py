"""A front's side of the connection to the owner: its models become what the owner says."""

import asyncio
import socket
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from app.errors import ModelFailedError
from app.service.fronts.image_channel import ImageClient
from app.service.fronts.message_channel import MessageChannel, decode_agreement, decode_policy
from app.service.fronts.remote_queue import RemoteQueue
from app.service.fronts.shared_memory import Layout, SharedMemory
from app.serving.hosted_models import HostedModel, Models
from app.serving.loading import Hosting, Loaded
from app.serving.metrics import Metrics
from app.web.keys import Keys
from app.web.rate_limit import Quotas

_PATIENCE: Final = 5.0
"""Seconds for the owner to join the metrics of all processes."""


@dataclass(frozen=True, slots=True)
class OwnerConnection:
    """The descriptor and the sockets that a front process gets from the owner when it starts."""

    memory: int
    images: socket.socket
    messages: socket.socket


class FrontSide:
    """Follows the owner's messages."""

    def __init__(
        self,
        connection: OwnerConnection,
        models: Models,
        hosting: Hosting,
        metrics: Metrics,
        keys: Keys | None,
        quotas: Quotas | None,
    ) -> None:
        """Join the parts of a process that reads neither the models nor the keys itself."""
        self.joined = asyncio.Event()  # the owner has sent the keys and the layout
        self._keys = keys
        self._connection = connection
        self._models = models
        self._hosting = hosting
        self._metrics = metrics
        self._quotas = quotas
        if quotas is not None:
            quotas.report = self._send_charge
        self._messages: MessageChannel | None = None
        self._images: ImageClient | None = None
        self._scrapes: dict[int, asyncio.Future[str]] = {}
        self._numbers = count()

    async def follow(self) -> None:
        """Follow the owner until it has gone; after that no model answers."""
        self._messages = await MessageChannel.open(self._connection.messages)
        try:
            async for message in self._messages.received():
                await self._handle(self._messages, **message)
        finally:
            self._messages.send("samples", of=self._metrics.families())
            self._messages.close()
            self._messages = None
            for scrape in self._scrapes.values():
                scrape.cancel()
            for model in self._models.all().values():
                model.state, model.loaded = "failed", None

    async def scrape(self) -> bytes:
        """Return the metrics of all processes in Prometheus's text format."""
        if self._messages is None:
            return self._metrics.render()
        number = next(self._numbers)
        text: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = text
        self._messages.send("scrape", number=number)
        try:
            async with asyncio.timeout(_PATIENCE):
                return (await text).encode()
        except TimeoutError as exc:
            raise ModelFailedError("The process with the models does not answer.") from exc
        finally:
            del self._scrapes[number]

    def _send_charge(self, client: str, tokens: int) -> None:
        if self._messages is not None:
            self._messages.send("charge", client=client, tokens=tokens)

    async def _handle(self, messages: MessageChannel, topic: str, **content: Any) -> None:  # noqa: ANN401 (JSON)
        match topic:
            case "layout":
                layout = Layout(**content)
                memory = SharedMemory(self._connection.memory, layout)
                self._images = ImageClient(memory)
                await self._images.open(self._connection.images)
                self.joined.set()
                messages.send("started")
            case "keys":
                if self._keys is not None:
                    self._keys.parse(content["text"])
            case "model":
                model = self._models.get(content["name"])
                self._update(model, content["number"], content["model"])
            case "samples":
                messages.send("samples", of=self._metrics.families())
            case "scraped":
                text = self._scrapes.get(content["number"])
                if text is not None and not text.done():
                    text.set_result(content["text"])
            case "charge":
                if self._quotas is not None:
                    self._quotas.charge(**content)

    def _update(self, model: HostedModel, number: int, encoded: dict[str, Any]) -> None:
        model.state, model.progress = encoded["state"], tuple(encoded["progress"])
        loaded = encoded["loaded"]
        if loaded is None or model.loaded is not None or self._images is None:
            return
        queue = RemoteQueue(
            number,
            decode_policy(loaded.pop("policy")),
            self._images,
            decode_backlog=self._hosting.decode_backlog,
            left=self._metrics.cancelled,
        )
        loaded["agreement"] = decode_agreement(loaded["agreement"])
        self._models.publish(model, Loaded(model.manifest, model.labels, queue, **loaded))
