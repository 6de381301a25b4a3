"""Work in the turn of a file: one at a time, in time, and what becomes of it when nobody waits."""

import asyncio
import subprocess
import sys
import time

import pytest

from app.errors import DeadlineExceededError, OverloadedError
from app.serving.metrics import Metrics
from app.serving.turns import Turns

pytestmark = pytest.mark.anyio

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "graph.onnx"
    file.write_bytes(b"")
    return file


class Stand:
    """Turns, and work that waits for a gate."""

    def __init__(self, *, across=False, stops=False):
        self.metrics = Metrics()
        self.turns = Turns(
            self.metrics, busy="busy", late="late", stops=stops, across_processes=across
        )
        self.gate, self.begun, self.done = asyncio.Event(), asyncio.Event(), []

    async def job(self):
        self.begun.set()
        try:
            await self.gate.wait()
            self.done.append("whole")
        except asyncio.CancelledError:
            self.done.append("stopped")
            raise
        return "answer"

    def work(self, file, wait=30.0, seconds=60.0):
        return self.turns.work(file, self.job, wait, time.monotonic() + seconds)

    def left(self, stage):
        return self.metrics.registry.get_sample_value("vgg_cancelled_total", {"stage": stage})


@pytest.mark.parametrize("across", [False, True])
async def test_turns_are_taken_one_after_the_other(file, across):
    """The second gets it when the work of the first is done, and other files are free meanwhile."""
    turns = Stand(across=across).turns
    other = file.with_name("other.onnx")
    other.write_bytes(b"")
    order = []

    async def note(number):
        order.append(number)
        await turns.work(other, lambda: asyncio.sleep(0), 0, time.monotonic() + 60)
        order.append(number)
        return number

    def work(number):
        return turns.work(file, lambda: note(number), 30, time.monotonic() + 60)

    assert [1, 2, 3] == await asyncio.gather(*map(work, (1, 2, 3)))
    assert [1, 1, 2, 2, 3, 3] == order


@pytest.mark.parametrize("across", [False, True])
async def test_who_waits_too_long_is_told_and_the_turn_stays_whole(file, across):
    """A wait that ended takes nothing away: the turn can be taken again."""
    stand = Stand(across=across)
    first = asyncio.create_task(stand.work(file))
    await stand.begun.wait()
    with pytest.raises(OverloadedError, match="busy"):
        await stand.work(file, wait=0)
    with pytest.raises(OverloadedError, match="busy"):
        await stand.work(file, seconds=0)
    stand.gate.set()

    assert ["answer", "answer"] == [await first, await stand.work(file)]


@pytest.mark.parametrize(("stops", "became"), [(False, "whole"), (True, "stopped")])
async def test_late_work_is_stopped_if_it_can_be(file, stops, became):
    """Its client is told in time; the turn ends with the work, whole or not."""
    stand = Stand(stops=stops)
    with pytest.raises(DeadlineExceededError, match="late"):
        await stand.work(file, seconds=0.01)
    waiting = asyncio.create_task(stand.work(file))
    stand.gate.set()

    assert "answer" == await waiting
    assert [became, "whole"] == stand.done


@pytest.mark.parametrize(("stops", "became"), [(False, "whole"), (True, "stopped")])
async def test_a_client_that_leaves_is_counted(file, stops, became):
    """Where it was: while its work was done, or before; then no work is begun."""
    stand = Stand(stops=stops)
    first = asyncio.create_task(stand.work(file))
    await stand.begun.wait()
    second = asyncio.create_task(stand.work(file))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    stand.gate.set()
    await stand.work(file)

    assert [became, "whole"] == stand.done
    assert (1, 1) == (stand.left("queue"), stand.left("run"))


@pytest.fixture
def holder(file):
    """Another process that has the turn, until it is killed."""
    if sys.platform == "win32":
        pytest.skip("needs flock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert b"held\n" == process.stdout.readline()
        yield process
        process.kill()


async def test_another_process_may_have_it(file, holder):
    """Fronts of a service share the turns; when a process ends, its turn is free."""
    stand, alone, other = Stand(across=True), Stand(), Stand(across=True)
    with pytest.raises(OverloadedError):
        await stand.work(file, wait=0)
    alone.gate.set()
    assert "answer" == await alone.work(file, wait=1)
    waiting = asyncio.create_task(stand.work(file))
    await asyncio.sleep(0)
    holder.kill()
    await stand.begun.wait()

    with pytest.raises(OverloadedError):
        await other.work(file, wait=0)
    stand.gate.set()
    assert "answer" == await waiting
