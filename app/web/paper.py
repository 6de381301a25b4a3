"""The parameter `test` of POST /predict: ten crops, or the whole photo, in place of one crop."""

from collections.abc import Sequence
from typing import Final, get_args

from starlette.datastructures import QueryParams

from app.errors import RequestError, UnknownParameterError
from app.serving.loading import Loaded
from app.serving.paper.costs import ServedTest
from app.serving.paper.tester import Tested, why_not_dense
from app.web.parameters import QUESTION
from app.web.schemas.answers import ModelRef, TestedOut

TESTS: Final[tuple[ServedTest, ...]] = get_args(ServedTest)


def read_test(query: QueryParams, loaded: Loaded) -> ServedTest:
    """Read the parameter, before the body is read.

    Raises:
        UnknownParameterError: If there is no such test, the model cannot take it, or the request asks
            where classes are as well.
    """
    there_are = f"There are {' and '.join(TESTS)}; `vgg-serve evaluate` has more."
    wanted = query["test"].strip().lower()
    if wanted not in TESTS:
        what = "is unknown" if wanted else "is empty"
        raise UnknownParameterError(f"test: The value {what}. {there_are}")
    if both := sorted(QUESTION.intersection(query)):
        raise UnknownParameterError(
            f"test: cannot be combined with {both[0]}, which is answered for one crop. Send two requests."
        )
    if wanted == "dense" and (why_not := why_not_dense(loaded)):
        raise UnknownParameterError(why_not)
    return TESTS[TESTS.index(wanted)]


def check_single(photos: Sequence[bytes | RequestError]) -> None:
    """Refuse a request with several photos.

    Raises:
        UnknownParameterError: If it has.
    """
    if len(photos) > 1:
        raise UnknownParameterError(
            f"test: takes one photo a request, and this one has {len(photos)}. Send them one by one."
        )


def tested_body(model: ModelRef, result: Tested) -> TestedOut:
    """Return the answer of a test."""
    views = {"crops" if result.test == "ten-crop" else "positions": result.views}
    return TestedOut.model_validate(
        {
            "model": model,
            "predictions": list(result.predictions),
            "image": result.image,
            "test": result.test,
            "scale": result.scale,
            **views,
        }
    )
