"""Answers of a server that a test writes down, in place of the network."""

import asyncio
import json

import httpx

from tests.cli.predict.conftest import BODY, problem

Step = tuple[int, dict[str, str], bytes]

GOOD: Step = (200, {}, json.dumps(BODY).encode())
BUSY: Step = (503, {"Retry-After": "2"}, problem(503, "overloaded", "The server is busy"))
LIMITED = (429, {"Retry-After": "5"}, problem(429, "rate-limited", "Too many requests"))
LATE: Step = (504, {}, problem(504, "deadline-exceeded", "Too late"))
HTML = (200, {"Content-Type": "text/html"}, b"<html>")


class Script(httpx.AsyncBaseTransport):
    """Answers the n-th request as the script says, the last entry for ever; records when.

    A photo of 666 bytes always gets `evil`.
    """

    def __init__(self, *script, seconds: float = 0.0, evil=None) -> None:
        self.script, self.seconds, self.evil = script, seconds, evil
        self.at: list[float] = []
        self.requests: list[httpx.Request] = []
        self.in_flight = self.most = 0

    async def handle_async_request(self, request):
        self.at.append(asyncio.get_running_loop().time() - 1000)
        self.requests.append(request)
        step = self.script[min(len(self.requests), len(self.script)) - 1]
        if self.evil is not None and request.headers["Content-Length"] == "666":
            step = self.evil
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await request.aread()
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        if isinstance(step, Exception):
            raise step
        status, headers, body = step
        return httpx.Response(status, headers=headers, content=body)
