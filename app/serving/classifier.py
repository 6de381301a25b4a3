"""One request from start to end; the order of its steps lives only here."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.errors import DeadlineExceededError
from app.images.decode_pool import DecodePool
from app.images.prepare import Prepare
from app.records import ImageInfo, Label, Pixels, Prediction, Preprocess
from app.serving.batching.queue import Queue
from app.serving.metrics import Metrics
from app.serving.ranking import top_k

RUNS_AHEAD: Final = 3
"""Runs whose images may be decoded: one that is under way, one that waits, one to come."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one request went, in seconds."""

    decode: float
    queue: float
    run: float
    rank: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one request.

    Attributes:
        predictions: The best first.
        image: What was posted.
        timings: Where the time went.
        batch_size: Images that shared the run.
    """

    predictions: tuple[Prediction, ...]
    image: ImageInfo
    timings: Timings
    batch_size: int


class Classifier:
    """A model that is ready to answer."""

    def __init__(
        self,
        name: str,
        preprocess: Preprocess,
        labels: Sequence[Label],
        *,
        batcher: Queue,
        decoders: DecodePool,
        prepare: Prepare,
        metrics: Metrics,
    ) -> None:
        """Join the parts.

        Args:
            name: Of the model, for the metrics.
            preprocess: What its weights expect.
            labels: One a class.
            batcher: Started.
            decoders: Threads that decode.
            prepare: Makes pixels of an upload.
            metrics: Told of every stage.
        """
        self.batcher = batcher
        self._held_back = 0
        self._places = asyncio.Semaphore(RUNS_AHEAD * batcher.policy.sizes[-1])
        self._name = name
        self._preprocess = preprocess
        self._labels = labels
        self._decoders = decoders
        self._prepare = prepare
        self._metrics = metrics

    def predicted_wait(self) -> float:
        """Return the seconds after which an image that came now would begin to run."""
        return max(self._backlog(), self.batcher.predicted_wait(self.batcher.coming))

    def admit(self, patience: float = float("inf")) -> None:
        """Refuse a request that would wait longer than the queue budget, or than its client will.

        Args:
            patience: Seconds until its deadline.

        Raises:
            OverloadedError: With the seconds after which to come back.
            ModelFailedError: If the model has stopped answering.
        """
        self.batcher.admit(self.batcher.coming, self._backlog(), patience)

    async def classify(self, data: bytes, k: int, deadline: float) -> Classification:
        """Decode, wait for a place in a batch, rank.

        Args:
            data: An image file.
            k: How many classes to return, 1 to 1000.
            deadline: On the clock of `time.monotonic`, in seconds.

        Raises:
            RequestError: If the file cannot be classified.
            ServiceError: If there is no time, no room or no luck.
        """
        began = time.monotonic()
        if deadline <= began:
            raise DeadlineExceededError("The deadline passed before the image was decoded.")
        self.admit(deadline - began)
        pixels, image, begun = await self._take_in(data, deadline)
        try:
            decoded = time.monotonic()
            row = await self.batcher.submit(pixels, deadline)
        finally:
            self._places.release()
        ran = time.monotonic()
        predictions = top_k(row.probabilities, self._labels, k)
        timings = Timings(
            decode=decoded - begun,
            queue=begun - began + row.queue_seconds,
            run=row.run_seconds,
            rank=time.monotonic() - ran,
        )
        self._metrics.classified(
            self._name, timings.decode, timings.queue, timings.run, timings.rank
        )
        return Classification(predictions, image, timings, row.batch_size)

    def _backlog(self) -> float:
        return self._decoders.backlog(self._held_back)

    async def _take_in(self, data: bytes, deadline: float) -> tuple[Pixels, ImageInfo, float]:
        """Wait for a place and decode; the caller gives the place back.

        Returns:
            The pixels, what they are of, and when their decoding began.
        """
        self.batcher.coming += 1
        try:
            await self._take_place(deadline)
            begun = time.monotonic()
            try:
                return *await self._decode(data, deadline), begun
            except BaseException:
                self._places.release()
                raise
        finally:
            self.batcher.coming -= 1

    async def _take_place(self, deadline: float) -> None:
        """Wait until an image may be decoded: its run is then not far away.

        Whoever leaves while waiting here has cost nothing, and an upload is smaller than its
        pixels. First come, first served.
        """
        self._held_back += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._places.acquire()
        except TimeoutError as exc:
            raise DeadlineExceededError(
                "The deadline passed before the image was decoded."
            ) from exc
        except asyncio.CancelledError:
            self._metrics.cancelled("queue")
            raise
        finally:
            self._held_back -= 1

    async def _decode(self, data: bytes, deadline: float) -> tuple[Pixels, ImageInfo]:
        try:
            return await self._decoders.decode(
                partial(self._prepare, data, self._preprocess), deadline
            )
        except asyncio.CancelledError:
            self._metrics.cancelled("decode")
            raise
