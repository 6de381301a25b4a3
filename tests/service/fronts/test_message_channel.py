import asyncio
import socket
from typing import Any

import pytest

from app.service.fronts.message_channel import MessageChannel

pytestmark = pytest.mark.anyio


async def both_ends():
    ours, theirs = socket.socketpair()
    return await MessageChannel.open(ours), await MessageChannel.open(theirs)


async def test_messages_arrive_whole_and_in_order():
    """Messages of megabytes too, until the other process has gone."""
    one, other = await both_ends()
    sent: list[dict[str, Any]] = [
        {"topic": "a", "n": 1},
        {"topic": "b", "text": "x" * 10**6},
        {"topic": "a", "n": 2},
    ]

    async def send():
        for what in sent:
            one.send(**what)
        await one._writer.drain()
        one.close()

    sending = asyncio.create_task(send())
    received = [what async for what in other.received()]
    await sending
    other.close()

    assert sent == received


async def test_a_message_to_a_process_that_has_gone_is_dropped():
    """The process that sends it is not affected."""
    one, other = await both_ends()
    other.close()
    received = [what async for what in one.received()]
    one.send("late", of=[1, 2])
    one.close()

    assert [] == received
