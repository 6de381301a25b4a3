"""What a server's answer means for the photo that was sent, and for all that follow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.cli.files import Trouble
from app.cli.predict.result import FileResult
from app.errors import RateLimitedError, UnknownModelError, UnknownParameterError
from app.images.overlay import Marks
from app.images.photo_box import PhotoBox
from app.outgoing.retry_after import retry_after
from app.records import ImageInfo, Prediction
from app.setup_errors import SetupError

_WAITED_FOR: Final = frozenset({429, 502, 503})
"""Statuses of a server that asks for time; 502 comes from a proxy whose server restarts."""
_TRIED_AGAIN: Final = frozenset({408, 504})
_SERVER_ERRORS: Final = 500
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_PROXY_WANTS_PASSWORD: Final = 407
_TOO_LARGE: Final = 413
_LONGEST_SENTENCE: Final = 500
_MOST_HEAT: Final = 1 << 16
"""Values of a map."""
_OF_ALL: Final = frozenset({UnknownModelError.slug, UnknownParameterError.slug})
"""Problems that do not depend on the photo."""
_TOP_K: Final = "top_k"
"""Name of the limit that a model sets to the classes of each photo alike."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, with its whole body.

    Attributes:
        where: The server, for sentences.
        status: Of HTTP.
        reason: What the server calls its status.
        headers: By name, in any case.
        content: The body.
    """

    where: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def title(self) -> str:
        """Return the status and its reason."""
        return f"{self.status} {self.reason}".strip()


@dataclass(frozen=True, slots=True)
class Later:
    """The photo can be sent again.

    Attributes:
        trouble: Why it was not classified this time.
        seconds: To wait before the next try, if the server says so.
        client: Whether the server refuses all photos of this client until then.
        lost: Whether the photo itself may be the reason, so that only a few tries are made.
        away: Whether there was no connection to the server.
    """

    trouble: Trouble
    seconds: float | None = None
    client: bool = False
    lost: bool = False
    away: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The photo is too large for the server, which may say what its limit is (bytes)."""

    trouble: Trouble
    most_bytes: int | None


class StrangerError(Exception):
    """An answer that no vgg-serve gives; its sentence is about the server."""


def read_answer(path: Path, answer: Answer, *, with_key: bool) -> FileResult | Later | TooLarge:
    """Return what became of a photo.

    Raises:
        SetupError: If every other photo would be answered in the same way.
        StrangerError: If this is no answer of a vgg-serve.
    """
    status, body = answer.status, _body(answer)
    if status == _OK and body is not None:
        return _classified(path, body, answer)
    slug = str(body.get("type", "")).rpartition("/")[2] if body else ""
    if status == _UNAUTHORIZED:
        raise SetupError(_unauthorized(answer, with_key=with_key))
    trouble = Trouble(_text(body, "title") or answer.title, _sentence(body, answer))
    if slug in _OF_ALL or _TOP_K in _limits(body):
        raise SetupError(trouble.sentence)
    if status in _WAITED_FOR:
        client = status == RateLimitedError.status
        return Later(trouble, retry_after(answer.headers), client=client)
    if status in _TRIED_AGAIN:
        return Later(trouble, retry_after(answer.headers), lost=True)
    if status == _TOO_LARGE:
        return TooLarge(trouble, _limit(body))
    if status == _NOT_FOUND or (not slug and status < _SERVER_ERRORS):
        raise StrangerError(_strange(answer))
    return FileResult(path, trouble=trouble)


def _body(answer: Answer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _classified(path: Path, body: dict[str, Any], answer: Answer) -> FileResult:
    try:
        image = body["image"]
        return FileResult(
            path,
            predictions=tuple(_prediction(row) for row in body["predictions"]),
            image=ImageInfo(int(image["width"]), int(image["height"]), str(image["format"])),
            model=str(body["model"]["name"]),
            trained=bool(body["model"]["trained"]),
            precision=_text(body["model"], "precision") or None,
            stands_in_for=_text(body["model"], "stands_in_for") or None,
            marks=_marks(body),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise StrangerError(_strange(answer)) from exc


def _marks(body: dict[str, Any]) -> Marks | None:
    """Return where the best class is; None if the answer does not say."""
    best = body["predictions"][0]
    if not best.get("heat") or not body.get("view"):
        return None
    rows, columns = int(best["heat"]["rows"]), int(best["heat"]["columns"])
    if not 0 < rows * columns <= _MOST_HEAT:
        raise ValueError("so large a map is not sent")
    heat = np.array(best["heat"]["values"], np.float32).reshape(rows, columns)
    box = best.get("box")
    return Marks(_box(body["view"]), np.clip(heat, 0, 1), _box(box) if box else None)


def _box(corners: dict[str, Any]) -> PhotoBox:
    return PhotoBox(*(int(corners[name]) for name in PhotoBox._fields))


def _prediction(row: dict[str, Any]) -> Prediction:
    wnid: Any = row["wnid"]
    if wnid is not None:
        wnid = str(wnid)
    return Prediction(
        rank=int(row["rank"]),
        label=str(row["label"]),
        probability=float(row["probability"]),
        wnid=wnid,
        class_index=int(row["class_index"]),
    )


def _limits(body: dict[str, Any] | None) -> dict[str, Any]:
    limits = body.get("limit") if body else None
    return limits if isinstance(limits, dict) else {}


def _limit(body: dict[str, Any] | None) -> int | None:
    most = _limits(body).get("bytes")
    return int(most) if isinstance(most, int | float) else None


def _text(body: dict[str, Any] | None, field: str) -> str:
    text = body.get(field) if body else None
    return text[:_LONGEST_SENTENCE] if isinstance(text, str) else ""


def _sentence(body: dict[str, Any] | None, answer: Answer) -> str:
    return _text(body, "detail") or f"The server answered {answer.title}."


def _unauthorized(answer: Answer, *, with_key: bool) -> str:
    if answer.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
        return (
            f"{answer.where} wants a name and a password. Give them in the URL:"
            " https://NAME:PASSWORD@HOST."
        )
    if with_key:
        return (
            f"{answer.where} does not know this API key. Check --key, or else the variable"
            " VGG_API_KEY."
        )
    return (
        f"{answer.where} wants an API key. Give it with --key KEY, or in the variable VGG_API_KEY."
    )


def _strange(answer: Answer) -> str:
    target = answer.headers.get("Location")
    if answer.status in _REDIRECTS and target:
        return f"{answer.where} redirects to {target[:200]}. Give that URL, without /predict."
    if answer.status == _PROXY_WANTS_PASSWORD:
        return (
            f"The proxy on the way to {answer.where} wants a name and a password. Give them in the"
            " variable HTTP_PROXY: http://NAME:PASSWORD@PROXY."
        )
    kind = answer.headers.get("Content-Type", "no type").partition(";")[0][:80]
    if answer.status == _FORBIDDEN:
        return (
            f"{answer.where} answered {answer.title}, which no vgg-serve does: something in front"
            " of it refuses this client. Ask whoever runs it, or check the URL."
        )
    return (
        f"The server at {answer.where} is not a vgg-serve: it answered {answer.title} with {kind}."
        " Check the URL and its port."
    )
