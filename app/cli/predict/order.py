"""Work on many items at once, and take the results in the order of the items."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    work: Callable[[Item], Awaitable[Result]], items: Iterable[Item], ahead: int
) -> AsyncGenerator[Result, None]:
    """Yield the result of every item, in order, while later ones are worked on.

    At most `ahead` items are begun and not yet yielded, so memory does not grow with their number.
    """
    begun: deque[asyncio.Task[Result]] = deque()

    async def begin(item: Item) -> Result:
        return await work(item)

    try:
        for item in items:
            begun.append(asyncio.create_task(begin(item)))
            if len(begun) >= ahead:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
