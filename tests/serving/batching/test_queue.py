"""Who is let into a queue."""

import pytest

from app.errors import ModelFailedError, OverloadedError
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.queue import Queue


class Standing(Queue):
    """A queue in which one waits as long as it is told."""

    def __init__(self, wait: float, usable: float = 1.0) -> None:
        self.policy = BatchPolicy((1,), RunCost(0.1, 0.0, ((1, 0.1),)), queue_budget=2.0)
        self.coming = 0
        self._wait = wait
        self._usable = usable

    @property
    def usable(self) -> float:
        return self._usable

    def predicted_wait(self, coming: int = 0) -> float:
        return self._wait + coming

    def longest_wait(self, coming: int = 0) -> float:
        return self.predicted_wait(coming)

    async def submit(self, pixels, deadline):
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("coming", "backlog", "patience", "late"),
    [(1, 0.0, 9.0, None), (2, 0.0, 9.0, 0.5), (0, 2.5, 9.0, 0.5), (0, 0.0, 0.25, 0.25)],
)
def test_who_would_wait_too_long_is_refused(coming, backlog, patience, late):
    """Longer than the budget or than the client's patience, for a run or for the decoding."""
    refused = None
    try:
        Standing(0.5).admit(coming, backlog, patience)
    except OverloadedError as exc:
        refused = exc.retry_after

    assert late == refused


def test_a_queue_lives_while_all_its_lanes_do_and_admits_while_one_does():
    """Half of the lanes fail the probes and still answer; none answers nobody."""
    Standing(0.0, usable=0.5).admit()
    with pytest.raises(ModelFailedError):
        Standing(0.0, usable=0.0).admit()

    assert [True, False, False] == [Standing(0.0, part).alive for part in (1.0, 0.5, 0.0)]
