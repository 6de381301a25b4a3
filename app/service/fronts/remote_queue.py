"""A model's queue in the owner, as a front sees it."""

import time
from collections.abc import Callable
from typing import Final

from app.records import Ask, Pixels, Row
from app.service.fronts.image_channel import ImageClient
from app.serving.batching.costs import BatchPolicy
from app.serving.batching.queue import Queue

_SILENCE: Final = 10.0
"""Seconds without an update of the shared memory after which the owner counts as hung."""


class RemoteQueue(Queue):
    """The queue of one model; its state is up to 10 ms old."""

    def __init__(
        self,
        model: int,
        policy: BatchPolicy,
        images: ImageClient,
        *,
        decode_backlog: Callable[[int], float] = lambda _: 0.0,
        left: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Represent the model of this number; see Queue for the rest."""
        super().__init__(policy, decode_backlog=decode_backlog, left=left)
        self._model = model
        self._images = images
        self._memory = images.memory
        self._seen = 0.0  # the update that `_unseen` refers to
        self._unseen = 0  # images that were admitted here since then

    @property
    def usable(self) -> float:
        """Return the share of the lanes that work; 0 if the owner hangs."""
        if time.monotonic() - self._memory.updated_at[0] > _SILENCE:
            return 0.0
        return float(self._memory.usable[self._model])

    @property
    def depth(self) -> int:
        """Return 0, because the owner counts the images of all fronts."""
        return 0

    def device_wait(self, behind: int = 0) -> tuple[float, float]:
        """Return the predicted seconds until a run, and the same with a safety margin."""
        now, largest = time.monotonic(), self.policy.sizes[-1]
        unseen = (self._count_unseen() + behind) // largest * self.policy.cost(largest)
        return (
            max(0.0, float(self._memory.next_start[self._model]) - now) + unseen,
            max(0.0, float(self._memory.latest_start[self._model]) - now) + unseen,
        )

    def count_coming(self, change: int, asked: int = 0) -> None:
        """Count images that were admitted and are not submitted yet, for the owner too."""
        self._unseen = self._count_unseen() + max(0, change)
        self._seen = float(self._memory.updated_at[0])
        super().count_coming(change, asked)
        self._memory.coming[self._model] = self.coming
        self._memory.asked[self._model] = self.asked

    def _count_unseen(self) -> int:
        return self._unseen if self._seen == float(self._memory.updated_at[0]) else 0

    async def submit(self, pixels: Pixels, deadline: float, ask: Ask | None = None) -> Row:
        """Have the owner run an image; see `ImageClient.submit`."""
        return await self._images.submit(self._model, pixels, deadline, ask)

    async def stop(self) -> None:
        """Fail every image that waits."""
        self._images.close()
