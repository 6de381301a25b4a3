"""Work on many items at once, results in order."""

import asyncio

import pytest

from app.client.order import in_order


class Work:
    """Records how many items are worked on; later items end sooner."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        try:
            await asyncio.sleep(100 - item)
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        return item


def test_results_come_in_the_order_of_the_items(turned):
    """Whichever ends first, the first item's result is the first."""

    async def main():
        return [result async for result in in_order(Work(), range(20), 4)]

    assert list(range(20)) == turned(main())


def test_no_more_is_begun_than_asked_for(turned):
    """A hundred thousand files never are in memory at once."""
    work = Work()

    async def main():
        return max([len(work.begun) - done async for done in in_order(work, range(30), 4)])

    assert 4 == turned(main())


def test_a_reader_that_leaves_ends_the_work(turned):
    """What is begun is cancelled, and nothing new begins."""
    work = Work()

    async def main():
        results = in_order(work, [99, 1, 2, 3], 3)
        await anext(results)
        await results.aclose()

    turned(main())

    assert [99, 1, 2] == work.begun
    assert [1, 2] == work.cancelled


def test_an_error_ends_the_rest(turned):
    """What one item raises reaches the reader; the others are cancelled."""

    async def fail(item: int) -> int:
        await asyncio.sleep(item)
        raise ValueError(item)

    async def main():
        async for _ in in_order(fail, range(5), 3):
            pass

    with pytest.raises(ValueError, match="0"):
        turned(main())
