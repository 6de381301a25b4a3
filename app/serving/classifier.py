"""One request from start to end: reserve a place, decode, submit, rank."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from app.images.decode_pool import DecodePool
from app.images.overlay import Marks, draw_overlay
from app.images.prepare import Prepare
from app.records import (
    Ask,
    ImageInfo,
    Label,
    Pixels,
    Prediction,
    Preprocess,
    Probabilities,
    Row,
)
from app.serving.batching.queue import Place
from app.serving.drift.watch import Look
from app.serving.drift.watch import look as look_at
from app.serving.explanation import Explained, Question, explain
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
        seconds: Where the time went, by stage: decode, queue, run, rank; and explain, if asked.
        batch_size: Images that shared the run.
        probabilities: Of all classes.
        explained: What the request asked beside that.
        unusual: Whether the photo is unlike those that the model knows, as far as that is known.
    """

    predictions: tuple[Prediction, ...]
    image: ImageInfo
    seconds: Mapping[str, float]
    batch_size: int
    probabilities: Probabilities
    explained: Explained | None = None
    unusual: bool = False


class Classifier:
    """Decodes uploads and gets them classified by the models; one per process that decodes."""

    def __init__(self, decoders: DecodePool, prepare: Prepare, metrics: Metrics) -> None:
        self._decoders = decoders
        self._prepare = prepare
        self._metrics = metrics

    async def classify(
        self,
        loaded: Loaded,
        data: bytes,
        k: int,
        deadline: float,
        question: Question | None = None,
        admitted: Place | None = None,
    ) -> Classification:
        """Classify one image file and return its k most probable classes, and what was asked.

        The deadline is in seconds on the clock of `time.monotonic`. Nothing is located with
        untrained weights: their maps mean nothing. An image that was `admitted` with others, by
        `classify_many`, keeps its place.

        Raises:
            RequestError: If the file cannot be classified.
            ServiceError: If the model cannot classify it in time, or at all.
        """
        began = time.monotonic()
        ask = ask_of(loaded, k, question)
        async with loaded.queue.reserve(deadline, ask, admitted) as place:
            reserved = time.monotonic()
            counted = loaded.watch if loaded.watch is not None and loaded.watch.wants() else None
            work = partial(self._decode, data, loaded.manifest.preprocess, look=counted is not None)
            try:
                pixels, image, seen = await self._decoders.decode(work, deadline)
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
        if counted is not None and seen is not None:
            counted.count(seen, image, row.probabilities)
        unusual = loaded.watch is not None and loaded.watch.is_unusual(row.energy)
        explained = None
        if question is not None:
            explained = await self._explain(loaded, row, image, question)
            if row.seen is not None:
                found = time.monotonic() - ran - seconds["rank"]
                seconds["explain"] = row.seen.seconds + found
                self._metrics.explained(loaded.manifest.name)
        self._metrics.classified(loaded.manifest.name, seconds)
        return Classification(
            predictions, image, seconds, row.batch_size, row.probabilities, explained, unusual
        )

    async def classify_pixels(
        self, loaded: Loaded, pixels: Pixels, k: int, deadline: float, admitted: Place | None = None
    ) -> Classification:
        """Classify an image that is decoded and cropped already; see `classify`. It does not count for drift.

        Args:
            loaded: The model.
            pixels: uint8 [crop, crop, 3], RGB.
            k: How many classes to return.
            deadline: On the clock of `time.monotonic`.
            admitted: Its place, if it was admitted with others.
        """
        began = time.monotonic()
        async with loaded.queue.reserve(deadline, None, admitted) as place:
            reserved = time.monotonic()
            row = await place.submit(pixels)
        ran = time.monotonic()
        predictions = top_k(row.probabilities, loaded.labels, k)
        seconds = {
            "queue": reserved - began + row.queue_seconds,
            "run": row.run_seconds,
            "rank": time.monotonic() - ran,
        }
        self._metrics.classified(loaded.manifest.name, seconds)
        image = ImageInfo(pixels.shape[1], pixels.shape[0], "pixels")
        return Classification(predictions, image, seconds, row.batch_size, row.probabilities)

    def _decode(
        self, data: bytes, preprocess: Preprocess, *, look: bool
    ) -> tuple[Pixels, ImageInfo, Look | None]:
        """Prepare a file, and look at its pixels where the interpreter lock hurts least: in a thread."""
        pixels, image = self._prepare(data, preprocess)
        return pixels, image, look_at(pixels) if look else None

    def will_draw(self) -> AbstractContextManager[None]:
        """Count a picture among the work that others wait for, while its photo is classified."""
        return self._decoders.coming_picture()

    async def draw(self, data: bytes, image: ImageInfo, marks: Marks, deadline: float) -> bytes:
        """Draw marks over an image file that was classified, which is decoded once more; return a PNG.

        Raises:
            RequestError: If the file cannot be decoded.
            DeadlineExceededError: If it is not drawn in time.
        """
        work = partial(draw_overlay, self._prepare, data, (image.width, image.height), marks)
        try:
            return await self._decoders.decode(work, deadline, picture=True)
        except asyncio.CancelledError:
            self._metrics.cancelled("draw")
            raise

    async def _explain(
        self, loaded: Loaded, row: Row, image: ImageInfo, question: Question
    ) -> Explained:
        asked = named(row.probabilities, loaded.labels, question.classes)
        if not question.parts:
            return Explained(asked)
        return await asyncio.to_thread(explain, row.seen, loaded.manifest, image, asked)


def ask_of(loaded: Loaded, k: int, question: Question | None) -> Ask | None:
    """Return what a model is to explain about an image; None if nothing is to be located."""
    locates = question is not None and bool(question.parts) and loaded.trained
    return question.ask(k) if question is not None and locates else None


def top_k(probabilities: Probabilities, labels: Sequence[Label], k: int) -> tuple[Prediction, ...]:
    """Return the k most probable classes, the best first; equal ones by class_index.

    Args:
        probabilities: float32 [classes].
        labels: One per class, in the same order.
        k: 1 to the number of classes.
    """
    order = np.argsort(-probabilities, kind="stable")[:k]
    return tuple(
        _prediction(probabilities, labels, index, rank)
        for rank, index in enumerate(order.tolist(), start=1)
    )


def named(
    probabilities: Probabilities, labels: Sequence[Label], classes: Sequence[int]
) -> tuple[Prediction, ...]:
    """Return these classes in their order, each with the rank that `top_k` would give it."""
    made = []
    for index in classes:
        better = int((probabilities > probabilities[index]).sum())
        equal = int((probabilities[:index] == probabilities[index]).sum())
        made.append(_prediction(probabilities, labels, index, 1 + better + equal))
    return tuple(made)


def _prediction(
    probabilities: Probabilities, labels: Sequence[Label], index: int, rank: int
) -> Prediction:
    return Prediction(
        rank=rank,
        label=labels[index].text,
        probability=float(str(probabilities[index])),  # its own digits, not a double's
        wnid=labels[index].wnid,
        class_index=index,
    )
