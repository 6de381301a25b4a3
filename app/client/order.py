"""Work on many items at once, and take the results in the order of the items."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    work: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item] | AsyncIterable[Item],
    ahead: int,
) -> AsyncGenerator[Result, None]:
    """Yield the result of every item, in order, while later ones are worked on.

    At most `ahead` items are begun and not yet yielded, so memory does not grow with their number.
    """
    begun: deque[asyncio.Task[Result]] = deque()

    async def begin(item: Item) -> Result:
        return await work(item)

    try:
        async for item in _each(items):
            begun.append(asyncio.create_task(begin(item)))
            while begun and (len(begun) >= ahead or begun[0].done()):
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


def in_order_blocking(
    submit: Callable[[Item], Future[Result]],
    wait: Callable[[Future[Result]], Result],
    items: Iterable[Item],
    ahead: int,
) -> Generator[Result, None, None]:
    """Do the same for a caller without an event loop.

    Args:
        submit: Begins to work on an item elsewhere.
        wait: Returns the result.
        items: They are taken in the thread of the caller.
        ahead: As of `in_order`.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(submit(item))
            while begun and (len(begun) >= ahead or begun[0].done()):
                yield wait(begun.popleft())
        while begun:
            yield wait(begun.popleft())
    finally:
        for future in begun:
            future.cancel()


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
