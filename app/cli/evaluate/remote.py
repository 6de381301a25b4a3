"""A model of a server that answers labelled photos over HTTP."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import httpx
import numpy as np

from app.cli.evaluate.model import Model, Side, at_temperature, open_model, other_side
from app.cli.evaluate.photos import stamp_of, unanswered
from app.cli.evaluate.served import (
    ServedGraph,
    ServedManifest,
    probe,
    question,
    read_served,
    served_test,
    too_few,
)
from app.cli.files import File, TroubleError, read_photo
from app.client.address import AddressError
from app.client.answer import Answer as Reply
from app.client.blocking import Client
from app.client.errors import ClientError, NoAnswerError
from app.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    InvalidImageError,
    RequestError,
    RunFailedError,
    SlowUploadError,
    UnsupportedFormatError,
)
from app.evaluation.answers import Answer, Answers
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo
from app.evaluation.paper import SINGLE, PaperTest
from app.evaluation.run import NO_ROW
from app.evaluation.segments import properties
from app.images.header_limits import ImageLimits
from app.images.paper_views import TestName
from app.images.prepare import prepare
from app.records import Preprocess
from app.setup_errors import SetupError

_TIMEOUT: Final = 60.0
"""Seconds for one try of one photo."""
_RETRIES: Final = 3
_CONCURRENCY: Final = 16
"""Photos at a time; one of a test, of which a server has one at a time."""
_MOST_BYTES: Final = 2**28
"""Of a photo that is read; the server has its own limit."""
_OF_PHOTO: Final = frozenset(
    {BodyTooLargeError.status, UnsupportedFormatError.status, InvalidImageError.status, RunFailedError.status}
)  # fmt: skip
"""Statuses that say something about the photo; any other ends the run."""
_LATE: Final = frozenset({SlowUploadError.status, DeadlineExceededError.status})
"""Statuses of a photo that is sent once more, after all others."""
_PASSES: Final = 3


@dataclass(frozen=True, slots=True)
class Remote:
    """A model of a server, with everything that the server says about it."""

    client: Client
    manifest: ServedManifest
    graph: ServedGraph
    classes: Classes
    version: str | None
    body: dict[str, Any]
    test: PaperTest

    @property
    def published_as(self) -> tuple[str, str]:
        """Return the digest of the weights, and who measured the manifest's accuracy: not known."""
        return f"sha256:{self.graph.weights_sha256}", ""

    @property
    def made_by(self) -> dict[str, Any]:
        """Return everything that its answers depend on, as far as the server says it."""
        test = {} if self.test == SINGLE else {"test": asdict(self.test)}
        return {
            **test,
            **at_temperature(self.manifest.temperature),
            "model": self.manifest.name,
            "url": self.client.url,
            "server_version": self.version,
            "weights_sha256": self.graph.weights_sha256,
            "classes": len(self.classes),
            "precision": self.graph.precision,
            "device": self.body.get("device"),
            "convolutions": self.body.get("convolutions"),
            "preprocess": self.body.get("preprocess"),
        }

    def answer(self, photos: list[Photo], answers: Answers, done: Callable[[], None]) -> int:
        """Have the photos classified that have no answer yet, or have changed; return how many those were.

        `done` is called for each photo that is dealt with.

        Raises:
            SetupError: If the server is away for too long, refuses this client, or has other weights now.
        """
        left = unanswered(photos, answers, done)
        count, late = len(left), None

        def add(answer: Answer) -> None:
            answers.add(answer)
            done()

        for _ in range(_PASSES):
            left, late = self._pass(left, add)
            if late is None:
                return count
        raise SetupError(f"{late} Run the command again to go on.") from late

    def _pass(
        self, photos: list[Photo], add: Callable[[Answer], None]
    ) -> tuple[list[Photo], ClientError | None]:
        """Send photos; return those that were not answered in time, and what was said about the last."""
        sent: deque[tuple[Photo, Answer]] = deque()
        again: list[Photo] = []
        late: ClientError | None = None

        def images() -> Iterator[bytes]:
            for photo in photos:
                answer = Answer(photo.name, stamp_of(photo.path), "", (0, 0), "", "", NO_ROW)
                try:
                    data = read_photo(File(photo.path, named=True), _MOST_BYTES)
                except TroubleError as exc:
                    add(replace(answer, trouble=str(exc)))
                    continue
                seen = _properties(data, self.manifest.preprocess)
                digest = hashlib.sha256(data).hexdigest()
                answer = replace(answer, sha256=digest, properties=seen)
                sent.append((photo, answer))
                yield data

        outcomes = self.client.classify_many(
            images(),
            return_exceptions=True,
            concurrency=_CONCURRENCY if self.test == SINGLE else 1,
            model=self.manifest.name,
            top_k=len(self.classes),
            parameters=question(self.test.name),
        )
        for outcome in outcomes:
            photo, answer = sent.popleft()
            if isinstance(outcome, ClientError) and _is_late(outcome):
                again.append(photo)
                late = outcome
            else:
                add(self._with(answer, outcome))
        return again, late

    def _with(self, answer: Answer, outcome: Reply | Exception) -> Answer:
        if isinstance(outcome, Reply):
            if outcome.weights_sha256 != self.graph.weights_sha256:
                raise SetupError(
                    f"{self.client.url}: {self.manifest.name} has other weights than a moment ago."
                    " Delete the file of answers, and run the command again."
                )
            size = (outcome.image.width, outcome.image.height)
            return replace(answer, size=size, format=outcome.image.format, row=self._row(outcome))
        if isinstance(outcome, ClientError) and outcome.status in _OF_PHOTO:
            return replace(answer, trouble=outcome.detail)
        raise SetupError(f"{outcome} Run the command again to go on.") from outcome

    def _row(self, reply: Reply) -> np.ndarray[Any, np.dtype[np.float32]]:
        row = np.full(len(self.classes), np.nan, np.float32)
        for one in reply.predictions:
            if 0 <= one.class_index < len(row):
                row[one.class_index] = one.probability
        if np.isnan(row).any():
            raise SetupError(too_few(self.client.url, len(reply.predictions), len(row)))
        return row


def open_remote(
    url: str,
    key: str | None,
    name: str | None,
    test: TestName = "single",
    transport: httpx.AsyncBaseTransport | None = None,
) -> Remote:
    """Ask a server about one of its models, the one that answers without a name if there is none.

    Raises:
        SetupError: If `url` is no URL, or the server cannot be asked, does not name all classes, or
            cannot take the test.
    """
    try:
        client = Client(url, key or "", _TIMEOUT, _RETRIES, transport=transport)
    except AddressError as exc:
        raise SetupError(str(exc)) from exc
    try:
        answer, tested = probe(client, name, test)
        model = client.model(answer.model)
        manifest, graph, classes = read_served(client.url, model, answer)
        return Remote(client, manifest, graph, classes, client.version(), dict(model.body), tested)
    except ClientError as exc:
        client.close()
        named = client.url in exc.detail  # where nobody listens
        raise SetupError(exc.detail if named else f"{client.url}: {exc.detail}") from exc


def second_side(
    side: Side, url: str | None, key: str | None, wanted: str
) -> Callable[[], Model | Remote]:
    """Return what opens the other side of `--compare`; a mistake is told before anything is run.

    Args:
        side: The first model, if it is here, and how it answers.
        url: Of the first model's server; None if it is here.
        key: API key of both servers.
        wanted: `vgg19`, settings of a model here, or the URL of a server, a model of it, `test=dense`.

    Raises:
        SetupError: If there is no such model, setting or server.
    """
    parts = [part.strip() for part in wanted.split(",")]
    urls = [part for part in parts if "://" in part]
    url = urls[0] if urls else url
    if url is None:
        other = other_side(side, wanted)
        return lambda: open_model(other)
    tests = [part.removeprefix("test=") for part in parts if part.startswith("test=")]
    names = [part for part in parts if "://" not in part and not part.startswith("test=")]
    if len(urls) > 1 or len(names) > 1 or any(not one or "=" in one for one in names):
        raise SetupError(
            f"--compare is {wanted!r}, and a server has its own settings. Name one URL, one model, one"
            " test=, or several of these, separated by commas."
        )
    test, scales = (tests[-1], None) if tests else (side.test, side.scales)
    served = served_test("--compare", test, scales)
    remote = open_remote(url, key, names[0] if names else side.name, served)
    return lambda: remote


def _is_late(error: ClientError) -> bool:
    return isinstance(error, NoAnswerError) or error.status in _LATE


def _properties(data: bytes, preprocess: Preprocess) -> dict[str, float]:
    """Measure what the server's model sees of a photo, which it does not tell; nothing of a damaged one."""
    try:
        pixels, _ = prepare(data, preprocess, ImageLimits())
    except RequestError:
        return {}
    return properties(data, pixels)
