"""The front's side of the conversation: its models become what the owner says they are."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from app.errors import ModelFailedError
from app.images.decode_pool import DecodePool
from app.service.fronts.message_channel import Words
from app.service.fronts.model_facts import loaded_of, policy_of
from app.service.fronts.remote_queue import Exchange, RemoteQueue
from app.service.fronts.shared_memory import Block, Shape
from app.service.fronts.shared_quotas import SharedQuotas
from app.serving.classifier import Classifier
from app.serving.hosted_models import HostedModel, Models
from app.serving.loading import Hosting
from app.serving.metrics import Metrics
from app.weights.labels import load_labels

_PATIENCE: Final = 5.0
"""Seconds for the owner to add up the metrics of all processes."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the owner gives to a front process.

    Attributes:
        block: Descriptor of the memory that they share.
        images: For what is said of images.
        words: For all else.
    """

    block: int
    images: socket.socket
    words: socket.socket


class Mirror:
    """The owner's models, as a front process has them."""

    def __init__(
        self,
        link: Link,
        models: Models,
        hosting: Hosting,
        decoders: DecodePool,
        metrics: Metrics,
    ) -> None:
        """Join the parts.

        Args:
            link: To the owner.
            models: Those of this process; they are not loaded here.
            hosting: How they are hosted.
            decoders: Threads that decode.
            metrics: Those of this process.
        """
        self._link = link
        self._models = models
        self._hosting = hosting
        self._decoders = decoders
        self._metrics = metrics
        self._quotas: SharedQuotas | None = None
        self._words: Words | None = None
        self._exchange: Exchange | None = None
        self._scrapes: dict[int, asyncio.Future[str]] = {}
        self._numbers = count()

    async def follow(self) -> None:
        """Do as the owner says until it has gone; then no model answers any more."""
        self._words = await Words.open(self._link.words)
        try:
            async for said in self._words.heard():
                await self._heed(self._words, **said)
        finally:
            self._words.say("samples", of=self._metrics.families())
            self._words.close()
            self._words = None
            for scrape in self._scrapes.values():
                scrape.cancel()
            for model in self._models.all().values():
                model.state, model.loaded = "failed", None

    async def scrape(self) -> bytes:
        """Return the metrics of all processes in Prometheus's text format."""
        if self._words is None:
            return self._metrics.render()
        number = next(self._numbers)
        text: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = text
        self._words.say("scrape", number=number)
        try:
            async with asyncio.timeout(_PATIENCE):
                return (await text).encode()
        except TimeoutError as exc:
            raise ModelFailedError("The process with the models does not answer.") from exc
        finally:
            del self._scrapes[number]

    def make_quotas(self, rate: float, burst: int, clock: Callable[[], float]) -> SharedQuotas:
        """Return the quotas of this front, which hold for all of them together."""
        self._quotas = SharedQuotas(rate, burst, clock, self._tell_charge)
        return self._quotas

    def _tell_charge(self, client: str, tokens: int) -> None:
        if self._words is not None:
            self._words.say("charge", client=client, tokens=tokens)

    async def _heed(self, words: Words, topic: str, **said: Any) -> None:  # noqa: ANN401 (JSON)
        match topic:
            case "shape":
                shape = Shape(tuple(said["crops"]), said["slots"])
                self._exchange = Exchange(Block(self._link.block, shape), shape.slots)
                await self._exchange.open(self._link.images)
                words.say("started")
            case "model":
                model = self._models.get(said["name"])
                self._adopt(model, said["number"], said["facts"])
            case "samples":
                words.say("samples", of=self._metrics.families())
            case "scraped":
                text = self._scrapes.get(said["number"])
                if text is not None and not text.done():
                    text.set_result(said["text"])
            case "charge":
                if self._quotas is not None:
                    self._quotas.charge(**said)

    def _adopt(self, model: HostedModel, number: int, facts: dict[str, Any]) -> None:
        model.state, model.progress = facts["state"], tuple(facts["progress"])
        if facts["loaded"] is None or model.loaded is not None or self._exchange is None:
            return
        manifest = model.manifest
        classifier = Classifier(
            manifest.name,
            manifest.preprocess,
            load_labels(manifest.labels, self._hosting.provisioning.model_dir),
            batcher=RemoteQueue(number, policy_of(facts), self._exchange),
            decoders=self._decoders,
            prepare=self._hosting.prepare,
            metrics=self._metrics,
        )
        model.loaded = loaded = loaded_of(facts, classifier)
        self._metrics.add_model(
            manifest.name,
            device=loaded.device,
            precision=loaded.precision,
            weights_sha256=loaded.weights_sha256,
            trained=loaded.trained,
            depth=lambda: 0.0,  # it has no line; the owner's is counted there
            predicted_wait=classifier.predicted_wait,
        )
