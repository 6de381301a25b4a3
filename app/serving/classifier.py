"""One request from start to end: reserve a place, decode, submit, rank."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from app.images.decode_pool import DecodePool
from app.images.prepare import Prepare
from app.records import ImageInfo, Pixels, Prediction
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.serving.ranking import top_k


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
        image: What was uploaded.
        timings: Where the time went.
        batch_size: Images that shared the run.
    """

    predictions: tuple[Prediction, ...]
    image: ImageInfo
    timings: Timings
    batch_size: int


class Classifier:
    """Decodes uploads and gets them classified by the models; one per process that decodes."""

    def __init__(self, decoders: DecodePool, prepare: Prepare, metrics: Metrics) -> None:
        """Join the parts.

        Args:
            decoders: The threads that decode.
            prepare: Turns an upload into pixels.
            metrics: Counts every stage.
        """
        self._decoders = decoders
        self._prepare = prepare
        self._metrics = metrics

    def admit(self, loaded: Loaded, patience: float = float("inf")) -> None:
        """Refuse a request before its body is read; see `Queue.admit`.

        Args:
            loaded: The model.
            patience: Seconds until the deadline.

        Raises:
            ServiceError: If the model has stopped, or the wait might be too long.
        """
        loaded.queue.admit(patience)

    async def classify(
        self, loaded: Loaded, data: bytes, k: int, deadline: float
    ) -> Classification:
        """Classify one image.

        Args:
            loaded: The model.
            data: An image file.
            k: How many classes to return, from 1 to all.
            deadline: Seconds on the clock of `time.monotonic`.

        Raises:
            RequestError: If the file cannot be classified.
            ServiceError: If the model cannot classify it in time, or at all.
        """
        began = time.monotonic()
        async with loaded.queue.reserve(deadline) as place:
            reserved = time.monotonic()
            pixels, image = await self._decode(data, loaded, deadline)
            decoded = time.monotonic()
            row = await place.submit(pixels)
        ran = time.monotonic()
        predictions = top_k(row.probabilities, loaded.labels, k)
        timings = Timings(
            decode=decoded - reserved,
            queue=reserved - began + row.queue_seconds,
            run=row.run_seconds,
            rank=time.monotonic() - ran,
        )
        self._metrics.classified(
            loaded.manifest.name, timings.decode, timings.queue, timings.run, timings.rank
        )
        return Classification(predictions, image, timings, row.batch_size)

    async def _decode(
        self, data: bytes, loaded: Loaded, deadline: float
    ) -> tuple[Pixels, ImageInfo]:
        try:
            return await self._decoders.decode(
                partial(self._prepare, data, loaded.manifest.preprocess), deadline
            )
        except asyncio.CancelledError:
            self._metrics.cancelled("decode")
            raise
