"""Ten crops, or the whole photo: answers that average many views, beside those of one crop.

They wait for photos of one crop: a test is admitted only while these wait little, one at a time per model,
and is costed by the images that it is worth. Ten crops are ten images of the ordinary queue. A whole
photo runs on a graph of its own on the weights of the model (app/graph/dense.py), on a share of the
processors, also where the model runs on a GPU; its memory is bounded by its shape (app/images/whole.py).
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import UnknownParameterError
from app.graph.inner_maps import NoMapsError
from app.graph.serving_graph import WEIGHTS_FILE
from app.graph.vgg import VggConfig
from app.images.decode_pool import DecodePool
from app.images.paper_views import square, ten_crops, usual_scales
from app.images.prepare import Prepare
from app.images.whole import whole_photos
from app.machine import return_freed_memory
from app.records import Pixels
from app.runtime.dense_session import Dense, DenseSession, open_dense
from app.serving.classifier import Classification, Classifier, top_k
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.serving.paper.costs import (
    CROPS,
    PaperCosts,
    ServedTest,
    counted_as,
    images_of,
    usual_images,
)
from app.serving.turns import SHARE, Turns
from app.weights.labels import network_of

_THREADS: Final = 4
"""A whole photo takes one of so many threads."""


@dataclass(frozen=True, slots=True)
class Tested(Classification):
    """The answer of a test.

    Attributes:
        test: Which one.
        scale: Length in pixels to which the shorter side of the photo was resized.
        views: Crops, or positions of the crop, that were averaged; mirror images are counted.
    """

    test: ServedTest = "ten-crop"
    scale: int = 0
    views: int = 0


class PaperTester:
    """Does the tests of a process's models."""

    def __init__(
        self,
        classifier: Classifier,
        decoders: DecodePool,
        prepare: Prepare,
        metrics: Metrics,
        *,
        threads: int,
        across_processes: bool = False,
    ) -> None:
        """Keep nothing before the first test.

        Args:
            classifier: Classifies crops.
            decoders: Threads that decode.
            prepare: Turns an upload into pixels.
            metrics: Counts clients that left.
            threads: Of a run of a model.
            across_processes: Whether other processes of the service test the same models.
        """
        self._classifier = classifier
        self._decoders = decoders
        self._prepare = prepare
        self._threads = max(1, threads // _THREADS)
        self._turns = Turns(
            metrics,
            busy="The model takes one photo at a time for tests, and another one is in turn. Retry in a moment.",
            late="The deadline passed before all views of the image were classified.",
            stops=True,
            across_processes=across_processes,
        )
        self._costs = PaperCosts(threads / self._threads)

    async def classify(
        self, loaded: Loaded, test: ServedTest, data: bytes, k: int, deadline: float
    ) -> Tested:
        """Classify an image file by many views and return its k most probable classes.

        The deadline is in seconds on the clock of `time.monotonic`.

        Raises:
            RequestError: If the file cannot be classified so, or the model cannot.
            ServiceError: If photos wait too long, another test is in turn, or this one cannot be done in time.
        """
        [scale] = usual_scales(test, loaded.manifest.preprocess)
        if test == "ten-crop":
            seconds = self._costs.of_crops(loaded, CROPS)
            work = partial(self._ten_crops, loaded, scale, data, k, deadline)
        else:
            config = network_of(loaded.manifest, loaded.labels)
            if config is None:
                raise UnknownParameterError(why_not_dense(loaded) or "")
            seconds = self._costs.of_images(loaded, usual_images(loaded, test))
            work = partial(self._dense, loaded, config, scale, data, k, deadline)
        left = deadline - time.monotonic()
        self._costs.check(loaded, seconds, left)
        budget = SHARE * loaded.queue.policy.queue_budget
        loaded.queue.admit(min(budget, left))
        weights = Path(loaded.graph).with_name(WEIGHTS_FILE)
        return await self._turns.work(weights, work, budget, deadline)

    async def _ten_crops(
        self, loaded: Loaded, scale: int, data: bytes, k: int, deadline: float
    ) -> Tested:
        """Classify the crops as ordinary images, a batch of them at a time: others come in between."""
        began = time.monotonic()
        preprocess, largest = loaded.manifest.preprocess, loaded.queue.policy.sizes[-1]
        decode = partial(self._prepare, data, square(preprocess, scale))
        pixels, image = await self._decoders.decode(decode, deadline)
        decoded = time.monotonic()
        crops = ten_crops(pixels, preprocess.crop)
        places = loaded.queue.admit_all(len(crops), deadline)
        found: list[Classification] = []
        try:
            for at in range(0, len(crops), largest):
                some = zip(crops[at : at + largest], places[at : at + largest], strict=True)
                found += await _all_of(
                    self._classifier.classify_pixels(loaded, crop, k, deadline, place)
                    for crop, place in some
                )
        finally:
            for place in places:
                place.arrive()
        rows = np.stack([one.probabilities for one in found])
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return Tested(
            top_k(mean, loaded.labels, k),
            image,
            {"decode": decoded - began, "run": time.monotonic() - decoded},
            max(one.batch_size for one in found),
            mean,
            test="ten-crop",
            scale=scale,
            views=len(crops),
        )

    async def _dense(
        self, loaded: Loaded, config: VggConfig, scale: int, data: bytes, k: int, deadline: float
    ) -> Tested:
        began = time.monotonic()
        decode = partial(whole_photos, self._prepare, data, [scale])
        (pixels,), image = await self._decoders.decode(decode, deadline)
        decoded = time.monotonic()
        images = images_of(loaded, pixels.shape[0] * pixels.shape[1])
        self._costs.check(loaded, self._costs.of_images(loaded, images), deadline - decoded)
        counted = counted_as(loaded, images)
        loaded.queue.count_coming(counted)
        done = False
        try:
            found = await self._run(loaded, config, pixels)
            done = True
        finally:
            loaded.queue.count_coming(-counted)
            ran = time.monotonic()
            self._costs.learn(loaded, images, ran - decoded, done=done)
        return Tested(
            top_k(found.probabilities, loaded.labels, k),
            image,
            {"decode": decoded - began, "run": ran - decoded},
            1,
            found.probabilities,
            test="dense",
            scale=scale,
            views=found.positions,
        )

    async def _run(self, loaded: Loaded, config: VggConfig, pixels: Pixels) -> Dense:
        """Run a whole photo in a thread, which is stopped if the caller is cancelled."""
        manifest = loaded.manifest
        opening = partial(
            open_dense,
            Path(loaded.graph),
            config,
            manifest.preprocess,
            self._threads,
            manifest.temperature,
        )
        try:
            session = await asyncio.to_thread(opening)
        except NoMapsError as exc:
            raise UnknownParameterError(
                f"test: {loaded.manifest.name} takes no whole photos: {exc}. Use test=ten-crop."
            ) from exc
        running = asyncio.ensure_future(asyncio.to_thread(_classify, session, pixels))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            session.stop()
            await asyncio.wait({running})
            running.exception()  # read, so that asyncio does not log it
            raise


def why_not_dense(loaded: Loaded) -> str | None:
    """Return why a model takes no whole photos; None if it does."""
    name = loaded.manifest.name
    if loaded.manifest.architecture is None:
        return (
            f"test: {name} is a ready ONNX graph, which takes images of one size; only networks built here"
            " from a checkpoint take whole photos. Use test=ten-crop, or name another model."
        )
    if loaded.precision == "int8":
        return (
            f"test: {name} computes in int8 on this server, and whole photos need weights in floating"
            " point. Use test=ten-crop."
        )
    return None


async def _all_of(some: Iterable[Coroutine[None, None, Classification]]) -> list[Classification]:
    """Return all answers; if one fails the others are given up."""
    tasks = [asyncio.create_task(one) for one in some]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _classify(session: DenseSession, pixels: Pixels) -> Dense:
    found = session.classify(pixels)
    return_freed_memory()
    return found
