"""Flip rates: how many first answers change where photos change a little."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import Final

import numpy as np

from app.evaluation.accuracy import Entry, Flags, share
from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.records import Numbers, PixelBatch, Run

SEED: Final = 0
_AHEAD: Final = 4
"""Photos that are changed while others are run, for each thread."""


def sample(places: Sequence[int], most: int) -> list[int]:
    """Draw up to `most` of these places, in their order; the same ones each time."""
    if len(places) <= most:
        return list(places)
    drawn = np.random.default_rng(SEED).choice(len(places), most, replace=False)
    return [places[one] for one in sorted(drawn)]


def answer_changed(
    photos: Iterable[Photo],
    change: Callable[[Photo], tuple[Answer, PixelBatch | None]],
    run: Run,
    threads: int,
    add: Callable[[Answer], None],
    *,
    single: bool,
) -> None:
    """Ask a model about each change of each photo.

    Args:
        photos: Those without an answer.
        change: Called in threads: returns an answer whose row is empty, and uint8 [changes, crop, crop, 3].
        run: Of the session.
        threads: That change photos.
        add: Called for each photo, in their order. The row of its answer is the class_index of the first
            answer after each change, so that it can be kept as other answers are.
        single: Whether the model takes one image at a time.

    Raises:
        RunFailedError: If a run fails, which it did not on the same photos before.
    """
    left = iter(photos)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="change")
    waiting: deque[Future[tuple[Answer, PixelBatch | None]]] = deque()
    try:
        while True:
            room = _AHEAD * threads - len(waiting)
            waiting.extend(pool.submit(change, photo) for photo in islice(left, room))
            if not waiting:
                return
            answer, batch = waiting.popleft().result()
            if batch is not None:
                parts = [batch[one : one + 1] for one in range(len(batch))] if single else [batch]
                rows = np.concatenate([run(np.ascontiguousarray(part)) for part in parts])
                answer = _first_answers(answer, rows.argmax(axis=1))
            add(answer)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def flip_rates(
    titles: dict[str, str], before: Numbers, labels: Numbers, after: Numbers, of: int
) -> Entry:
    """Return the shares of first answers that change, and of right ones, after each change.

    Args:
        titles: Of the changes, by their names.
        before: int64 [N]: first answers to the photos as they are.
        labels: int64 [N].
        after: int64 [N, changes].
        of: Photos from which these were drawn.
    """
    right: Flags = before == labels
    found = []
    for place, (name, title) in enumerate(titles.items()):
        answers = after[:, place]
        flips = share(int((answers != before).sum()), len(before))
        top1 = share(int((answers == labels).sum()), len(before))
        found.append(
            {"name": name, "title": title, "flip_rate": asdict(flips), "top1": asdict(top1)}
        )
    return {
        "n": len(before), "of": of, "seed": SEED, "top1": float(right.mean()), "changes": found,
    }  # fmt: skip


def _first_answers(answer: Answer, classes: Numbers) -> Answer:
    return Answer(
        answer.name, answer.stamp, answer.sha256, answer.size, answer.format, "", classes.astype(np.float32)
    )  # fmt: skip
