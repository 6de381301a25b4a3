"""JSON lines between two processes."""

import asyncio
import socket
from typing import Any

import pytest

from app.service.fronts.message_channel import Words

pytestmark = pytest.mark.anyio


async def both_ends():
    ours, theirs = socket.socketpair()
    return await Words.open(ours), await Words.open(theirs)


async def test_what_is_said_is_heard():
    """Objects arrive whole and in order, megabytes too, until the other side has gone."""
    one, other = await both_ends()
    said: list[dict[str, Any]] = [
        {"topic": "a", "n": 1},
        {"topic": "b", "text": "x" * 10**6},
        {"topic": "a", "n": 2},
    ]

    async def say():
        for what in said:
            one.say(**what)
        await one._writer.drain()
        one.close()

    speaking = asyncio.create_task(say())
    heard = [what async for what in other.heard()]
    await speaking
    other.close()

    assert said == heard


async def test_nothing_is_lost_by_talking_to_nobody():
    """A process that ends while it is spoken to harms no one."""
    one, other = await both_ends()
    other.close()
    heard = [what async for what in one.heard()]
    one.say("late", of=[1, 2])
    one.close()

    assert [] == heard
