"""Photos in flight to one server."""

import asyncio

from app.client.flow import Flow


class Sender:
    """Sends photos that take a second each, and records how many are in flight."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.in_flight = self.most = 0

    async def send(self, refusal: float | None = None, *, client: bool = False) -> float:
        began = await self.flow.enter()
        entered = asyncio.get_running_loop().time()
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(1)
        self.in_flight -= 1
        if refusal is None:
            self.flow.answered()
        else:
            self.flow.refused(began, refusal, client=client)
        self.flow.leave()
        return entered - 1000

    async def all(self, *sends):
        return await asyncio.gather(*sends)


def test_no_more_are_in_flight_than_wanted(turned):
    """The others wait for a place, first come, first served."""

    async def main():
        sender = Sender(Flow(4))
        times = await sender.all(*(sender.send() for _ in range(10)))
        return sender.most, times

    assert (4, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]) == turned(main())


def test_refusals_halve_the_flow_once_a_round(turned):
    """Eight refusals of eight photos are one event, and nobody but a refused photo waits."""

    async def main():
        sender = Sender(Flow(8))
        await sender.all(*(sender.send(60) for _ in range(8)))
        sender.most = 0
        times = await sender.all(*(sender.send() for _ in range(8)))
        return sender.most, times

    assert (4, [1, 1, 1, 1, 2, 2, 2, 2]) == turned(main())


def test_a_server_that_refuses_one_at_a_time_gets_none_until_it_can(turned):
    """There is nothing to halve: everyone waits as long as it asks for."""

    async def main():
        sender = Sender(Flow(2))
        await sender.send(30)  # one place is left
        await sender.send(30)
        return await sender.all(sender.send(), sender.send())

    assert [32, 33] == turned(main())


def test_a_refused_client_sends_nothing_until_it_may(turned):
    """After 429 the number in flight stays, and all wait."""

    async def main():
        sender = Sender(Flow(4))
        first = sender.all(sender.send(5, client=True), *(sender.send() for _ in range(3)))
        await first
        sender.most = 0
        times = await sender.all(*(sender.send() for _ in range(4)))
        return sender.most, times

    assert (4, [6] * 4) == turned(main())


def test_the_flow_grows_again_slowly(turned):
    """Twenty answers are one more place, up to as many as wanted."""

    async def main():
        sender = Sender(Flow(2))
        await sender.send(0)
        most = []
        for photos in (19, 2, 2, 60):
            sender.most = 0
            await sender.all(*(sender.send() for _ in range(photos)))
            most.append(sender.most)
        return most

    assert [1, 1, 2, 2] == turned(main())
