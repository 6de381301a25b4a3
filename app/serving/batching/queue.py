"""A model's queue as those see it who have an image for it: will it take one, and what came of it."""

from abc import ABC, abstractmethod

from app.errors import ModelFailedError
from app.records import Pixels, Row
from app.serving.batching.costs import BatchPolicy


class Queue(ABC):
    """A `Batcher`, or a front process's way to the one in the owner.

    Attributes:
        policy: How batches are formed.
        coming: Images that are accepted and not in line yet.
    """

    policy: BatchPolicy
    coming: int

    @property
    @abstractmethod
    def usable(self) -> float:
        """Return the part of the lanes whose loop lives and whose run does not hang: 0 to 1."""

    @abstractmethod
    def predicted_wait(self, coming: int = 0) -> float:
        """Return the seconds after which an image that came now would begin to run.

        Args:
            coming: Images that will be in line before this one.
        """

    @abstractmethod
    def longest_wait(self, coming: int = 0) -> float:
        """Return the seconds that the predicted wait may become, as the last runs did."""

    @abstractmethod
    async def submit(self, pixels: Pixels, deadline: float) -> Row:
        """Wait for a place in a batch and return this image's row of it.

        Args:
            pixels: uint8 [crop, crop, 3].
            deadline: On the clock of `time.monotonic`, in seconds.

        Raises:
            DeadlineExceededError: If the deadline passed first; unless its run had begun by
                then, the image is not run.
            RunFailedError: If the run failed.
            ModelFailedError: If the run loop has ended.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Let the run at hand end, then answer everyone who still waits."""

    @property
    def alive(self) -> bool:
        """Tell whether every run loop lives and no run hangs."""
        return self.usable >= 1

    def admit(self, coming: int = 0, backlog: float = 0.0, patience: float = float("inf")) -> None:
        """Refuse what may have to wait longer than the budget, or than its client will.

        Args:
            coming: Images that will be in line before this one: those being decoded.
            backlog: Seconds until this one is decoded; the device goes on meanwhile.
            patience: Seconds until its deadline.

        Raises:
            OverloadedError: With the seconds after which the wait will have come down to it.
            ModelFailedError: If no lane is left: its loop is dead or its run hangs.
        """
        if not self.usable:
            raise ModelFailedError("The model has stopped answering.")
        self.policy.ensure_in_time(max(backlog, self.longest_wait(coming)), patience)
