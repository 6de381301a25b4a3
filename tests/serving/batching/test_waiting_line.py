import asyncio

import numpy as np
import pytest

from app.errors import DeadlineExceededError, RunFailedError
from app.records import Row
from app.serving.batching.waiting_line import WaitingLine

PIXELS = np.zeros((1, 1, 3), np.uint8)
ROW = Row(np.zeros(1000, np.float32), 0.0, 0.0, 1)


def started(line, deadline=1e9):
    return asyncio.create_task(line.wait(PIXELS, deadline, 0.0))


def line_here(**options):
    return WaitingLine(asyncio.get_running_loop().time, **options)


def test_the_oldest_is_taken_first(turned):
    """Waiters are taken in the order of their arrival, as many as asked for."""

    async def main():
        line = line_here()
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        first = line.take(2)
        for waiter in [*first, *line.take(2)]:
            waiter.answer(ROW)
        await asyncio.gather(*tasks)

        assert (2, 0) == (len(first), len(line))

    turned(main())


def test_waiter_past_its_deadline_is_not_taken(turned):
    """At its deadline its client gets an error, and the image is not taken any more."""

    async def main():
        line = line_here()
        task = started(line, deadline=asyncio.get_running_loop().time() + 1)
        await asyncio.sleep(2)

        assert [] == line.take(1)
        with pytest.raises(DeadlineExceededError):
            await task

    turned(main())


def test_a_late_answer_or_error_does_nothing(turned):
    """A waiter that was answered, or has left, is not touched again."""

    async def main():
        line = line_here()
        answered, gone = started(line), started(line)
        await asyncio.sleep(0)
        first, second = line.take(2)
        first.answer(ROW)
        first.fail(RunFailedError("late"))
        gone.cancel()
        await asyncio.wait({gone})
        second.answer(ROW)

        assert await answered is ROW
        assert gone.cancelled()

    turned(main())


def test_a_passed_deadline_says_whether_the_image_was_being_run(turned):
    """An image that was taken for a run is not said to have waited for one."""

    async def main():
        line = line_here()
        deadline = asyncio.get_running_loop().time() + 1
        run, waiting = started(line, deadline), started(line, deadline)
        await asyncio.sleep(0)
        line.take(1)
        errors = await asyncio.gather(run, waiting, return_exceptions=True)

        assert [
            "The deadline passed while the image was being run.",
            "The deadline passed before the image was run.",
        ] == [str(error) for error in errors]

    turned(main())


def test_a_deadline_that_passes_as_the_line_is_taken_is_one_before_the_run(turned):
    """An image that is taken too late was not run."""

    async def main():
        line = line_here()
        task = started(line, deadline=asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        taken = line.take(1)
        with pytest.raises(DeadlineExceededError, match="before the image was run"):
            await task

        assert [] == taken

    turned(main())


def test_a_client_that_leaves_as_the_line_is_taken_left_the_queue(turned):
    """It is counted by where its image was: in line, as no run was started for it."""

    async def main():
        left: list[str] = []
        line = line_here(left=left.append)
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        taken = line.take(1)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks)

        assert 1 == len(taken)
        assert ["queue", "run", "queue"] == left
        assert 0 == len(line)

    turned(main())


def test_dismissed_waiters_get_an_error_each(turned):
    """No two waiters share an exception object."""

    async def main():
        line = line_here()
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        line.dismiss(lambda: RunFailedError("over"))
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert 3 == len({id(error) for error in errors})
        assert 0 == len(line)

    turned(main())
