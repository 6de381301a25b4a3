"""What the protocols of other servers share: all answers or one error, and versions of models."""

from collections.abc import Sequence

from fastapi import Request

from app.errors import RequestError, ServiceError, UnknownModelError
from app.records import Pixels
from app.serving.classifier import Classification
from app.serving.explanation import Question
from app.web.predict import classify_all
from app.web.problems import UnwantedError

VERSIONS = ("1", "1.0")
"""Of a model, in protocols whose models have some; here each has one."""


async def answers_to(
    request: Request,
    images: Sequence[bytes | Pixels],
    k: int,
    question: Question | None = None,
    *,
    name: str = "",
) -> list[Classification]:
    """Classify all images of a request; one that fails fails the request.

    Args:
        request: Admitted, its body read.
        images: Image files, or pixels of the model's size.
        k: How many classes each answer has.
        question: What is asked about each beside its classes.
        name: Of the list that they were in, so that an error says which one it is about.

    Raises:
        RequestError: If one cannot be classified.
        ServiceError: If the server cannot classify them.
        UnwantedError: If the client has left.
    """
    outcomes = await classify_all(request, images, k, question)
    if outcomes is None:
        raise UnwantedError
    answers = []
    for number, outcome in enumerate(outcomes):
        if not isinstance(outcome, Classification):
            raise _placed(outcome, f"{name}[{number}]" if name else "")
        answers.append(outcome)
    largest = max(one.batch_size for one in answers)
    fields = {"model": request.state.model, "images": len(images), "batch_size": largest}
    request.state.fields = fields
    return answers


def check_version(version: str) -> None:
    """Refuse a version that no model has.

    Raises:
        UnknownModelError: If it is none of VERSIONS.
    """
    if version not in VERSIONS:
        raise UnknownModelError(f"Each model has one version, {VERSIONS[0]}.")


def _placed(error: RequestError | ServiceError, place: str) -> RequestError | ServiceError:
    """Let an error say which image it is about."""
    if place:
        error.args = (f"{place}: {error}",)
    return error
