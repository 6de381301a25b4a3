"""One request from start to end: reserve a place, decode, submit, rank."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from app.images.decode_pool import DecodePool
from app.images.prepare import Prepare
from app.records import ImageInfo, Label, Prediction, Probabilities
from app.serving.loading import Loaded
from app.serving.metrics import Metrics

USUAL: Final = 5
"""Classes in an answer, unless the request says how many; fewer if the model knows fewer."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one request.

    Attributes:
        predictions: The best first.
        image: What was uploaded.
        seconds: Where the time went, by stage: decode, queue, run, rank.
        batch_size: Images that shared the run.
    """

    predictions: tuple[Prediction, ...]
    image: ImageInfo
    seconds: Mapping[str, float]
    batch_size: int


class Classifier:
    """Decodes uploads and gets them classified by the models; one per process that decodes."""

    def __init__(self, decoders: DecodePool, prepare: Prepare, metrics: Metrics) -> None:
        self._decoders = decoders
        self._prepare = prepare
        self._metrics = metrics

    async def classify(
        self, loaded: Loaded, data: bytes, k: int, deadline: float
    ) -> Classification:
        """Classify one image file and return its k most probable classes.

        The deadline is in seconds on the clock of `time.monotonic`.

        Raises:
            RequestError: If the file cannot be classified.
            ServiceError: If the model cannot classify it in time, or at all.
        """
        began = time.monotonic()
        async with loaded.queue.reserve(deadline) as place:
            reserved = time.monotonic()
            work = partial(self._prepare, data, loaded.manifest.preprocess)
            try:
                pixels, image = await self._decoders.decode(work, deadline)
            except asyncio.CancelledError:
                self._metrics.cancelled("decode")
                raise
            decoded = time.monotonic()
            row = await place.submit(pixels)
        ran = time.monotonic()
        predictions = top_k(row.probabilities, loaded.labels, k)
        seconds = {
            "decode": decoded - reserved,
            "queue": reserved - began + row.queue_seconds,
            "run": row.run_seconds,
            "rank": time.monotonic() - ran,
        }
        self._metrics.classified(loaded.manifest.name, seconds)
        return Classification(predictions, image, seconds, row.batch_size)


def top_k(probabilities: Probabilities, labels: Sequence[Label], k: int) -> tuple[Prediction, ...]:
    """Return the k most probable classes, the best first; equal ones by class_index.

    Args:
        probabilities: float32 [classes].
        labels: One per class, in the same order.
        k: 1 to the number of classes.
    """
    order = np.argsort(-probabilities, kind="stable")[:k]
    return tuple(
        Prediction(
            rank=rank,
            label=labels[index].text,
            probability=float(str(probabilities[index])),  # its own digits, not a double's
            wnid=labels[index].wnid,
            class_index=index,
        )
        for rank, index in enumerate(order.tolist(), start=1)
    )
