"""Have files classified by a server: no faster than it can, and as patiently as is told."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import BinaryIO, Final, Self

import httpcore
import httpx

from app.cli.files import STDIN, File, Trouble, TroubleError, open_photo, unreadable
from app.cli.predict.address import CONNECT, shown, why_unreachable
from app.cli.predict.answers import Answer, Later, StrangerError, TooLarge, read_answer
from app.cli.predict.flow import Flow
from app.cli.predict.result import FileResult
from app.errors import BodyTooLargeError
from app.outgoing.clients import Client
from app.setup_errors import SetupError

_CHUNK: Final = 2**18
_MOST_ANSWER: Final = 2**24
"""Bytes of an answer; a class takes about 100 of them."""
_CONNECTING: Final = 30.0
"""Seconds until the photo is asked for: httpx waits for a SOCKS proxy that says nothing for ever."""
_READING: Final = 60.0
"""Seconds without a byte from the server, which answers within 10 s, and for the whole answer once it has begun."""
_LARGE: Final = 2**20
"""Bytes of a photo from which on the server's limit may be why it was not answered."""
_FOR_LIMIT: Final = 5.0
"""Seconds that the limit is waited for."""
_SILENT: Final = 30.0
"""Seconds without any answer after which the command ends, at the least, if the server can be reached."""
_MOST_LOST: Final = 4
"""Times that a photo is sent without an answer, as it may itself be the reason."""
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 10.0
"""Seconds before the second try, if the server wants no longer wait; doubled for each try, up to the longest."""
_UNSAID_WAIT: Final = 1.0
"""Seconds, at least, if the server does not say how long."""


class Server:
    """Posts photos to a server, several at a time.

    Attributes:
        ahead: Files to work on at a time: those in flight, and those that wait for another try.
    """

    def __init__(
        self,
        client: Client,
        url: httpx.URL,
        *,
        model: str | None,
        top_k: int | None,
        connections: int,
        patience: float,
        explains: bool = False,
    ) -> None:
        """Post to `url`.

        Args:
            client: As of `open_client`.
            url: As of `predict_url`.
            model: None for the server's default.
            top_k: Classes a photo; None for as many as the server usually gives.
            connections: Most photos in flight.
            explains: Whether to ask where the best class is.
            patience: Seconds that one photo waits for a server that is busy or away; the command
                ends if no photo at all was answered in that time.
        """
        self._client = client
        self._url = url
        params: dict[str, str | int | None] = {
            "top_k": top_k,
            "model": model,
            "explain": "heat,box" if explains else None,
        }
        self._params = {name: value for name, value in params.items() if value is not None}
        self._with_key = "Authorization" in client.headers
        self._flow = Flow(connections)
        self._patience = patience
        self._met = False
        self._last_answer = 0.0
        self._most_bytes: int | None = None
        self._waiting_for = ""
        self.ahead = 4 * connections

    def waiting_for(self) -> str:
        """Say what the server said when it last refused, unless it has answered since."""
        return self._waiting_for

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def classify(self, file: File) -> FileResult:
        """Post one file until it is answered; a server that was never reached is not waited for.

        Raises:
            SetupError: If no other file would be answered either.
        """
        loop = asyncio.get_running_loop()
        self._last_answer = self._last_answer or loop.time()
        refused_at: float | None = None
        tries = lost = 0
        while True:
            try:
                outcome = await self._try(file, again=lost > 0)
            except TroubleError as exc:
                return FileResult(file.path, trouble=exc.trouble)
            if isinstance(outcome, FileResult):
                return outcome
            wait = _wait(outcome, tries)
            next_try = loop.time() + wait
            refused_at = refused_at or loop.time()
            tries += 1
            lost += outcome.lost
            self._waiting_for = outcome.trouble.kind
            self._ensure_alive(outcome, next_try - self._last_answer)
            if lost >= _MOST_LOST or next_try - refused_at > self._patience:
                return self._give_up(file, outcome.trouble, tries)
            await asyncio.sleep(wait)

    async def _try(self, file: File, *, again: bool) -> FileResult | Later:
        """Send a photo once, in its place in the flow."""
        began = await self._flow.enter()
        try:
            outcome = await self._post(file, again=again)
            if isinstance(outcome, Later):
                self._flow.refused(began, _wait(outcome, 0), client=outcome.client)
            else:
                self._flow.answered()
        finally:
            self._flow.leave()
        return outcome

    async def _post(self, file: File, *, again: bool) -> FileResult | Later:
        photo = await asyncio.to_thread(open_photo, file)
        try:
            size = _size(photo)
            if again and size > _LARGE and self._most_bytes is None:
                await self._ask_limit(size)
            if self._most_bytes is not None and size > self._most_bytes:
                return FileResult(file.path, trouble=_too_large(size, self._most_bytes))
            outcome = await self._ask(file, photo, size)
        except OSError as exc:
            raise TroubleError(unreadable(exc)) from exc
        finally:
            photo.close()
        if isinstance(outcome, TooLarge):
            self._most_bytes = outcome.most_bytes or size - 1
            outcome = FileResult(file.path, trouble=outcome.trouble)
        if isinstance(outcome, FileResult):
            self._last_answer = asyncio.get_running_loop().time()
            self._waiting_for = ""
        return outcome

    async def _ask(self, file: File, photo: BinaryIO, size: int) -> FileResult | Later | TooLarge:
        """Send a photo, and turn into words whatever comes back, or does not."""
        try:
            answer = await self._exchange(_chunks(photo), size)
            outcome = read_answer(file.path, answer, with_key=self._with_key)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
            reason = why_unreachable(self._url, exc)
            if not self._met:
                raise SetupError(reason) from exc
            return Later(Trouble("the server cannot be reached", reason), away=True)
        except httpx.LocalProtocolError as exc:
            sentence = "The file changed while it was sent."
            raise TroubleError(Trouble("changed meanwhile", sentence)) from exc
        except (httpx.RequestError, TimeoutError) as exc:
            return Later(Trouble("no answer", why_unreachable(self._url, exc)), lost=True)
        except StrangerError as exc:
            if not self._met:
                raise SetupError(str(exc)) from exc
            return Later(Trouble("an answer of another server", str(exc)), lost=True)
        self._met = True
        return outcome

    async def _ask_limit(self, size: int) -> None:
        """Learn the size limit from the answer to the head of a request, if there is one.

        A server refuses a body that is too large as soon as it has read the head, and closes the
        connection while we still send: then its answer is lost.
        """
        with suppress(httpx.RequestError, TimeoutError, StrangerError):
            answer = await self._exchange(_HeadAlone(), size, seconds=_FOR_LIMIT)
            outcome = read_answer(STDIN, answer, with_key=self._with_key)
            if isinstance(outcome, TooLarge):
                self._met = True
                self._most_bytes = outcome.most_bytes or size - 1

    async def _exchange(
        self, content: AsyncIterator[bytes], size: int, seconds: float = _READING
    ) -> Answer:
        """Send a photo and read the answer, at most _MOST_ANSWER of it."""
        connecting = asyncio.timeout(_CONNECTING)
        sending = self._client.stream(
            "POST",
            self._url,
            params=self._params,
            content=_once_connected(connecting, content),
            headers={"Content-Length": str(size)},
            timeout=httpx.Timeout(seconds, connect=CONNECT, pool=None),
        )
        received = bytearray()
        try:
            async with connecting, sending as response, asyncio.timeout(seconds):
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > _MOST_ANSWER:
                        break
        except TimeoutError as exc:
            if connecting.expired():
                raise httpx.ConnectTimeout("no connection in time") from exc
            raise
        return Answer(
            shown(self._url),
            response.status_code,
            response.reason_phrase,
            response.headers,
            bytes(received),
        )

    def _ensure_alive(self, last: Later, silent: float) -> None:
        """Raise if the server answered nothing for so long that no other photo need be tried."""
        if silent > (self._patience if last.away else max(self._patience, _SILENT)):
            raise SetupError(
                f"{last.trouble.sentence} Nothing was answered for {silent:,.0f} s;"
                f" --patience is {self._patience:g} s."
            )

    def _give_up(self, file: File, last: Trouble, tries: int) -> FileResult:
        """Return the failure of one file; raise if the server has never answered any."""
        if not self._met:
            raise SetupError(last.sentence)
        times = "once" if tries == 1 else f"{tries} times"
        sentence = f"{last.sentence} It was tried {times}."
        return FileResult(file.path, trouble=Trouble(last.kind, sentence))


def _wait(outcome: Later, tries: int) -> float:
    """Return the seconds until the next try: as the server wants, and longer with each try."""
    least = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 10))
    return max(least, _UNSAID_WAIT if outcome.seconds is None else outcome.seconds)


def _too_large(size: int, most: int) -> Trouble:
    sentence = f"The file has {size / 1e6:,.1f} MB; the server takes at most {most / 1e6:,.1f} MB."
    return Trouble(BodyTooLargeError.title, sentence)


def _size(photo: BinaryIO) -> int:
    size = photo.seek(0, os.SEEK_END)
    photo.seek(0)
    return size


async def _once_connected(
    connecting: asyncio.Timeout, content: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    connecting.reschedule(None)
    async for chunk in content:
        yield chunk


class _HeadAlone:
    """A body that ends the sending before it begins, so that httpcore reads the answer to the head."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise httpcore.WriteError


async def _chunks(photo: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(photo.read, _CHUNK):
        yield chunk
