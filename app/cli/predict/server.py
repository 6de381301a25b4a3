"""Have files classified by a server: no faster than it can, and as patiently as is told."""

import asyncio
from contextlib import ExitStack
from typing import Final

import httpx
import numpy as np

from app.cli.files import File, Trouble, TroubleError, open_photo, unreadable
from app.cli.predict.result import FileResult
from app.client.aio import AsyncClient
from app.client.answer import Answer, Box
from app.client.errors import (
    ChangedError,
    ClientError,
    NoAnswerError,
    StrangerError,
    UnreachableError,
)
from app.client.flow import Flow
from app.client.photo import Photo
from app.client.photo import open_photo as to_photo
from app.client.question import query
from app.client.reply import TOO_LARGE, UNAUTHORIZED
from app.client.retries import RATE_LIMITED, is_refusal, pause
from app.errors import BodyTooLargeError, UnknownModelError, UnknownParameterError
from app.images.overlay import Marks
from app.images.photo_box import PhotoBox
from app.records import ImageInfo, Prediction
from app.setup_errors import SetupError

_SILENT: Final = 30.0
"""Seconds without any answer after which the command ends, at the least, if the server can be reached."""
_MOST_LOST: Final = 4
"""Times that a photo is sent without an answer, as it may itself be the reason."""
_NOT_FOUND: Final = 404
_SENT_AGAIN: Final = frozenset({_NOT_FOUND, 408, 504})
"""Statuses of a photo that was not answered in time, or by another server."""
_OF_ALL: Final = frozenset({UnknownModelError.slug, UnknownParameterError.slug})
"""Problems that do not depend on the photo."""
_TOP_K: Final = "top_k"
"""Name of the limit that a model sets to the classes of each photo alike."""


class Server:
    """Posts photos to a server, several at a time.

    Attributes:
        ahead: Files to work on at a time: those in flight, and those that wait for another try.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        model: str | None,
        top_k: int | None,
        connections: int,
        patience: float,
        explains: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Post to a server.

        Args:
            url: As of `AsyncClient`.
            key: Empty or None for none.
            model: None for the server's default.
            top_k: Classes a photo; None for as many as the server usually gives.
            connections: Most photos in flight.
            patience: Seconds that one photo waits for a server that is busy or away; the command
                ends if no photo at all was answered in that time.
            explains: Whether to ask where the best class is.
            transport: As of `AsyncClient`.

        Raises:
            AddressError: If `url` is no URL.
        """
        self._client = AsyncClient(url, key or "", None, 0, transport=transport)
        self._params = query(
            {"model": model, "top_k": top_k, "explain": "heat,box" if explains else None}
        )
        self._with_key = bool(key)
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
                outcome = await self._try(file)
            except TroubleError as exc:
                return FileResult(file.path, trouble=exc.trouble)
            if isinstance(outcome, FileResult):
                return outcome
            wait = pause(outcome, tries)
            next_try = loop.time() + wait
            refused_at = refused_at or loop.time()
            tries += 1
            lost += not (is_refusal(outcome) or isinstance(outcome, UnreachableError))
            self._waiting_for = _trouble(outcome).kind
            self._ensure_alive(outcome, next_try - self._last_answer)
            if lost >= _MOST_LOST or next_try - refused_at > self._patience:
                return self._give_up(file, outcome, tries)
            await asyncio.sleep(wait)

    async def _try(self, file: File) -> FileResult | ClientError:
        """Send a photo once, in its place in the flow; return an error after which it is sent again."""
        began = await self._flow.enter()
        try:
            outcome = await self._post(file)
            if isinstance(outcome, ClientError):
                if is_refusal(outcome):
                    client = outcome.status == RATE_LIMITED
                    self._flow.refused(began, pause(outcome, 0), client=client)
            else:
                self._flow.answered()
        finally:
            self._flow.leave()
        return outcome

    async def _post(self, file: File) -> FileResult | ClientError:
        with ExitStack() as stack:
            try:
                photo = await asyncio.to_thread(_open, stack, file)
                if self._most_bytes is not None and photo.size > self._most_bytes:
                    return FileResult(file.path, trouble=_too_large(photo.size, self._most_bytes))
                outcome = await self._ask(file, photo)
            except OSError as exc:
                raise TroubleError(unreadable(exc)) from exc
        if isinstance(outcome, FileResult):
            self._last_answer = asyncio.get_running_loop().time()
            self._waiting_for = ""
        return outcome

    async def _ask(self, file: File, photo: Photo) -> FileResult | ClientError:
        """Send a photo, and turn into words whatever comes back, or does not."""
        try:
            answer = await self._client.send(photo, self._params)
        except ChangedError as exc:
            raise TroubleError(Trouble("changed meanwhile", exc.detail)) from exc
        except (UnreachableError, StrangerError) as exc:
            if not self._met or exc.status == UNAUTHORIZED:
                raise SetupError(exc.detail) from exc
            return exc
        except NoAnswerError as exc:
            return exc
        except ClientError as exc:
            return self._refused(file, photo, exc)
        self._met = True
        return _result(file, answer)

    def _refused(self, file: File, photo: Photo, error: ClientError) -> FileResult | ClientError:
        """Say what an error that the server answered means for a photo, or for all."""
        if error.status == UNAUTHORIZED:
            raise SetupError(self._unauthorized()) from error
        if error.type in _OF_ALL or _TOP_K in error.limit:
            raise SetupError(error.detail) from error
        if error.status == _NOT_FOUND and not self._met:
            raise SetupError(f"{self._client.url}: {error.detail} Check the URL.") from error
        self._met = True
        if is_refusal(error) or error.status in _SENT_AGAIN:
            return error
        if error.status == TOO_LARGE:
            self._most_bytes = int(error.limit.get("bytes", photo.size - 1))
        return FileResult(file.path, trouble=_trouble(error))

    def _unauthorized(self) -> str:
        where = self._client.url
        if self._with_key:
            return (
                f"{where} does not know this API key. Check --key, or else the variable"
                " VGG_API_KEY."
            )
        return f"{where} wants an API key. Give it with --key KEY, or in the variable VGG_API_KEY."

    def _ensure_alive(self, last: ClientError, silent: float) -> None:
        """Raise if the server answered nothing for so long that no other photo need be tried."""
        away = isinstance(last, UnreachableError)
        if silent > (self._patience if away else max(self._patience, _SILENT)):
            raise SetupError(
                f"{last.detail} Nothing was answered for {silent:,.0f} s;"
                f" --patience is {self._patience:g} s."
            )

    def _give_up(self, file: File, last: ClientError, tries: int) -> FileResult:
        """Return the failure of one file; raise if the server has never answered any."""
        if not self._met:
            raise SetupError(last.detail)
        times = "once" if tries == 1 else f"{tries} times"
        sentence = f"{last.detail} It was tried {times}."
        return FileResult(file.path, trouble=Trouble(_trouble(last).kind, sentence))


def _open(stack: ExitStack, file: File) -> Photo:
    return to_photo(stack.enter_context(open_photo(file)))


def _trouble(error: ClientError) -> Trouble:
    kinds = {
        UnreachableError: "the server cannot be reached",
        StrangerError: "an answer of another server",
    }
    return Trouble(error.title or kinds.get(type(error), "no answer"), error.detail)


def _too_large(size: int, most: int) -> Trouble:
    sentence = f"The file has {size / 1e6:,.1f} MB; the server takes at most {most / 1e6:,.1f} MB."
    return Trouble(BodyTooLargeError.title, sentence)


def _result(file: File, answer: Answer) -> FileResult:
    return FileResult(
        file.path,
        predictions=tuple(
            Prediction(one.rank, one.label, one.probability, one.wnid, one.class_index)
            for one in answer.predictions
        ),
        image=ImageInfo(answer.image.width, answer.image.height, answer.image.format),
        model=answer.model,
        trained=answer.trained,
        precision=answer.precision,
        stands_in_for=answer.stands_in_for,
        marks=_marks(answer),
    )


def _marks(answer: Answer) -> Marks | None:
    """Return where the best class is; None if the answer does not say."""
    best = answer.best
    if best.heat is None or answer.view is None:
        return None
    heat = np.array(best.heat.values, np.float32).reshape(best.heat.rows, best.heat.columns)
    return Marks(_corners(answer.view), heat, _corners(best.box) if best.box else None)


def _corners(box: Box) -> PhotoBox:
    return PhotoBox(box.xmin, box.ymin, box.xmax, box.ymax)
