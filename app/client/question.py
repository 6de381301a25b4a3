"""What can be asked about a photo, as the query of POST /predict."""

import os
from collections.abc import Iterable, Mapping
from typing import Final, TypedDict

PATIENCE: Final = 120.0
"""Seconds that `classify_many` waits for a busy server, for each photo."""
CONCURRENCY: Final = 16


class Question(TypedDict, total=False):
    """What `classify` is asked; what is left out, the server chooses.

    Attributes:
        model: None for the server's default.
        top_k: Classes; None for as many as the server usually gives.
        explain: `box`, `heat`, `evidence` or several of them: where the classes are. True is `box`.
        parameters: More parameters of POST /predict: `{"classes": "281,282"}`.
        timeout: Seconds, in place of those of the client. For each try in `classify_many`.
    """

    model: str | None
    top_k: int | None
    explain: str | Iterable[str] | bool | None
    parameters: Mapping[str, str] | None
    timeout: float | None


class Many(Question, total=False):
    """What `classify_many` is asked.

    Attributes:
        concurrency: Photos in flight, and images that are taken ahead; 16.
        patience: Seconds for which one photo waits for a server that is busy or restarts; 120.
    """

    concurrency: int
    patience: float


def query(question: Question) -> dict[str, str]:
    """Return the parameters.

    Raises:
        TypeError: If there is no such argument.
        ValueError: If one cannot be.
    """
    unknown = set(question) - set(Many.__annotations__) - set(Question.__annotations__)
    if unknown:
        raise TypeError(f"There is no argument {', '.join(map(repr, sorted(unknown)))}.")
    params: dict[str, str] = {}
    model, top_k, explain = (question.get(name) for name in ("model", "top_k", "explain"))
    if model is not None:
        params["model"] = str(model)
    if top_k is not None:
        params["top_k"] = str(top_k)
    if explain:
        parts = ["box"] if explain is True else explain
        params["explain"] = parts if isinstance(parts, str) else ",".join(parts)  # type: ignore[arg-type] # see Question
    return params | dict(question.get("parameters") or {})


def check_seconds(name: str, seconds: float | None) -> None:
    """Raise a ValueError unless it is a time to wait for, or None for no limit."""
    if seconds is not None and not seconds > 0:
        raise ValueError(f"{name} is {seconds}; it is seconds, above 0, or None for no limit.")


def check_several(images: object) -> None:
    """Raise a TypeError for one image in place of several: the characters of a path are no images."""
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise TypeError("classify_many takes several images, in a list or from a generator.")
