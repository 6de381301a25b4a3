"""The turn of a file has one holder at a time."""

import asyncio
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("across", [False, True])
async def test_turns_are_taken_one_after_the_other(file, across):
    """The second gets it when the first gives it back, and other files are free meanwhile."""
    turns = Turns(across_processes=across)
    other = file.with_name("other.onnx")
    other.write_bytes(b"")
    order = []

    async def hold(number):
        give_back = await turns.take(file, 30)
        order.append(number)
        await asyncio.sleep(0)
        order.append(number)
        give_back()

    (await turns.take(other, 0))()
    await asyncio.gather(hold(1), hold(2), hold(3))

    assert [1, 1, 2, 2, 3, 3] == order


@pytest.mark.parametrize("across", [False, True])
async def test_who_waits_too_long_gets_an_error_and_the_turn_stays_whole(file, across):
    """A wait that ended takes nothing away: the turn can be taken again."""
    turns = Turns(across_processes=across)
    give_back = await turns.take(file, 1)
    with pytest.raises(TimeoutError):
        await turns.take(file, 0)
    give_back()

    (await turns.take(file, 0.1))()


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
    turns = Turns(across_processes=True)
    with pytest.raises(TimeoutError):
        await turns.take(file, 0)
    (await Turns(across_processes=False).take(file, 0))()
    waiting = asyncio.create_task(turns.take(file, 30))
    await asyncio.sleep(0)
    holder.kill()
    give_back = await waiting

    with pytest.raises(TimeoutError):
        await Turns(across_processes=True).take(file, 0)
    give_back()
