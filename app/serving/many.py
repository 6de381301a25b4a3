"""Several images of one request: admitted together, classified at the same time, answered in order."""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

from app.errors import BadRequestError, RequestError, ServiceError
from app.records import Pixels
from app.serving.batching.queue import Place
from app.serving.classifier import Classification, Classifier, ask_of
from app.serving.explanation import Question
from app.serving.loading import Loaded

MOST_IMAGES: Final = 64
"""Images of one request: two full batches of most models, and 1.5 s of VGG-16 on a laptop."""

Outcome: TypeAlias = Classification | RequestError | ServiceError
"""What became of one image: its answer, or why there is none."""


def check_number(images: int) -> None:
    """Refuse a request with more images than one may have.

    Raises:
        BadRequestError: If there are too many.
    """
    if images > MOST_IMAGES:
        raise BadRequestError(
            f"The request has {images} images; the limit is {MOST_IMAGES}. Send the others in another one.",
            limit={"images": MOST_IMAGES},
        )


async def classify_many(
    classifier: Classifier,
    loaded: Loaded,
    images: Sequence[bytes | Pixels | RequestError],
    k: int,
    deadline: float,
    question: Question | None = None,
) -> list[Outcome]:
    """Classify images, and return what became of each, in their order; one that fails harms no other.

    All are admitted and counted at once, or none is. If the caller is cancelled, all are given up.

    Args:
        classifier: What classifies one.
        loaded: The model.
        images: Image files, of which each is decoded, or pixels of the model's size, uint8 [crop,
            crop, 3], or errors that were found already; at least one, at most MOST_IMAGES.
        k: How many classes each answer has.
        deadline: Of all, on the clock of `time.monotonic`.
        question: What is asked about each beside its classes; image files only.

    Raises:
        BadRequestError: If there are too many.
        ServiceError: If they are not admitted, or if none was answered because of the server.
    """
    check_number(len(images))
    places = loaded.queue.admit_all(len(images), deadline, ask_of(loaded, k, question))

    async def outcome_of(image: bytes | Pixels | RequestError, place: Place) -> Outcome:
        if isinstance(image, RequestError):
            place.arrive()
            return image
        try:
            if isinstance(image, bytes):
                return await classifier.classify(loaded, image, k, deadline, question, place)
            return await classifier.classify_pixels(loaded, image, k, deadline, place)
        except (RequestError, ServiceError) as exc:
            return exc.with_traceback(None)  # it would keep the image in memory

    try:
        async with asyncio.TaskGroup() as group:
            started = [outcome_of(*pair) for pair in zip(images, places, strict=True)]
            tasks = [group.create_task(one) for one in started]
    finally:
        for place in places:  # a task that was cancelled before it began has not given up its own
            place.arrive()
    outcomes = [task.result() for task in tasks]
    failed = [one for one in outcomes if isinstance(one, ServiceError)]
    if len(failed) == len(outcomes):
        raise failed[0]
    return outcomes
