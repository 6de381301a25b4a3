"""Ask a model about all photos: batches run while the next photos are decoded."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Generic, TypeVar

import numpy as np

from app.errors import DeviceLostError, RunFailedError
from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.records import PixelBatch, Pixels, ProbabilityBatch, Run

T = TypeVar("T")

NO_ROW: Final = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """A photo before it is run: an answer whose row is still empty, and pixels unless it has a trouble.

    What pixels are, only the function that classifies them has to know.
    """

    answer: Answer
    pixels: T | None


def stacked(run: Run) -> Callable[[list[Pixels]], ProbabilityBatch]:
    """Return a function that classifies images of the network's size as one batch."""
    return lambda some: run(np.stack(some))


def even(run: Run) -> Run:
    """Return a run of an even number of images: one that is odd has its last image twice.

    onnxruntime multiplies a matrix of one row in another order than one of several, which changes
    the seventh digit. With even runs an evaluation that goes on where it was has the figures of one
    that was never ended, to the last bit.
    """

    def run_even(batch: PixelBatch) -> ProbabilityBatch:
        if len(batch) % 2 == 0:
            return run(batch)
        return run(np.concatenate([batch, batch[-1:]]))[:-1]

    return run_even


def classify(
    photos: Iterable[Photo],
    decode: Callable[[Photo], Decoded[T]],
    run: Callable[[list[T]], ProbabilityBatch],
    batch: int,
    threads: int,
    add: Callable[[Answer], None],
) -> None:
    """Classify photos in order.

    Args:
        photos: Those without an answer.
        decode: Called in threads.
        run: Classifies some photos: of images of the network's size, `stacked(session.run)`.
        batch: Photos of a run.
        threads: That decode.
        add: Called with each answer, in the order of the photos.

    Raises:
        DeviceLostError: If the GPU has failed for good.
    """
    left = iter(photos)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[Decoded[T]]] = deque()
    try:
        while True:
            room = 2 * batch + threads - len(waiting)
            waiting.extend(pool.submit(decode, photo) for photo in islice(left, room))
            if not waiting:
                return
            some = [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]
            # Decoders go on while this thread runs the batch.
            more = 2 * batch + threads - len(waiting)
            waiting.extend(pool.submit(decode, photo) for photo in islice(left, more))
            for answer in _answers(some, run):
                add(answer)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def largest_batch(run: Run, crop: int, most: int) -> int:
    """Return `most`, or 1 of a model that takes single images only: two black ones show it."""
    try:
        run(np.zeros((min(2, most), crop, crop, 3), np.uint8))
    except DeviceLostError:
        raise
    except RunFailedError:
        return 1
    return most


def _answers(
    some: list[Decoded[T]], run: Callable[[list[T]], ProbabilityBatch]
) -> Iterable[Answer]:
    pixels = [one.pixels for one in some if one.pixels is not None]
    rows = iter(_rows(pixels, run))
    for one in some:
        yield one.answer if one.pixels is None else _with(one.answer, next(rows))


def _rows(
    pixels: list[T], run: Callable[[list[T]], ProbabilityBatch]
) -> Iterable[ProbabilityBatch | str]:
    if not pixels:
        return []
    try:
        return list(run(pixels))
    except DeviceLostError:
        raise
    except RunFailedError:
        return [_alone(one, run) for one in pixels]


def _alone(pixels: T, run: Callable[[list[T]], ProbabilityBatch]) -> ProbabilityBatch | str:
    try:
        row: ProbabilityBatch = run([pixels])[0]
    except DeviceLostError:
        raise
    except RunFailedError as exc:
        return str(exc)
    return row


def _with(answer: Answer, row: ProbabilityBatch | str) -> Answer:
    trouble, values = (row, NO_ROW) if isinstance(row, str) else ("", row)
    return replace(answer, trouble=trouble, row=values)
