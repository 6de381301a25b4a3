"""The tree of errors, and what a new class in it gets without another edit."""

import json
import re
from multiprocessing.connection import Pipe

import pytest

from app import errors, setup_errors
from app.errors import InvalidImageError, RequestError, ServiceError, VggServeError, answered, kinds
from app.images import process_pool
from app.service.fronts.image_channel import decode_error, encode_error
from app.serving.metrics import Metrics
from app.web.problems import answer_error


def defined_in(module):
    """List the classes of errors that a module defines."""
    return [
        c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__
    ]


def test_trees_in_the_docstrings_are_the_tree():
    """The docstrings name every error, with its status and its slug."""
    trees = f"{errors.__doc__} {setup_errors.__doc__}"
    drawn = {
        match[1]: (match[2], match[3])
        for match in re.finditer(r"(\w+Error)\b(?: +(\d{3}) ([\w-]+))?", trees)
    }
    classes = [*defined_in(errors), *defined_in(setup_errors)]
    concrete = {
        c.__name__: (str(c.status), c.slug)
        for c in classes
        if issubclass(c, RequestError | ServiceError) and c not in {RequestError, ServiceError}
    }

    assert {c.__name__ for c in classes} == set(drawn)
    assert concrete == {name: row for name, row in drawn.items() if row[0]}


def test_all_errors_have_one_root():
    """A handler that catches VggServeError catches all of them."""
    classes = [*defined_in(errors), *defined_in(setup_errors)]

    assert all(issubclass(c, VggServeError) for c in classes)


def test_every_503_has_a_retry_after():
    """Each error that is a 503 has usual seconds to wait, and takes better ones."""
    busy = [kind for kind in kinds(ServiceError) if kind.status == 503]

    assert 5 == len(busy)
    for error in busy:
        assert error("why").retry_after
        assert 0.5 == error("why", retry_after=0.5).retry_after


@pytest.fixture(scope="module")
def melted():
    """Make a class of error as a developer would add one to the tree."""

    class MeltedError(ServiceError):
        """A device that is too hot."""

        status = 503
        slug = "melted"
        title = "The device has melted"

    return MeltedError


def test_a_new_error_is_answered(melted):
    """Its status, its title and a Retry-After reach the client."""
    response = answer_error({"headers": []}, melted("Let it cool down."))

    assert (503, "1") == (response.status_code, response.headers["retry-after"])
    body = json.loads(bytes(response.body))
    assert ("/problems/melted", "The device has melted") == (body["type"], body["title"])


def test_a_new_error_is_counted(melted):
    """vgg_rejected_total has its reason from the start, at zero."""
    metrics = Metrics()
    before = metrics.registry.get_sample_value("vgg_rejected_total", {"reason": melted.slug})
    metrics.rejected(melted.slug)

    after = metrics.registry.get_sample_value("vgg_rejected_total", {"reason": melted.slug})
    assert (0, 1) == (before, after)


def test_a_new_error_crosses_from_the_owner_to_a_front(melted):
    """It is the same class with the same sentence on the other side."""
    back = decode_error(*encode_error(melted("Let it cool down."), 100))

    assert (melted, "Let it cool down.") == (type(back), str(back))


def test_a_new_error_crosses_from_a_decode_process():
    """It is the same class with the same sentence and numbers on the other side."""

    class TooBlueError(InvalidImageError):
        """An image that is too blue."""

        slug = "too-blue"

    ours, theirs = Pipe()
    said = {"error": "TooBlueError", "detail": "It is blue.", "limit": {"blue": 3.0}}
    theirs.send_bytes(json.dumps(said).encode())
    back = process_pool._read(ours, 8)

    assert isinstance(back, RequestError)
    assert (TooBlueError, "It is blue.", {"blue": 3.0}) == (type(back), str(back), back.limit)


def test_a_decode_process_cannot_make_errors_that_need_more_than_a_sentence():
    """What it names must be a request error that crosses processes; all else is nonsense."""
    for name in ("RateLimitedError", "SetupError", "Exception"):
        ours, theirs = Pipe()
        theirs.send_bytes(json.dumps({"error": name, "detail": "", "limit": None}).encode())
        with pytest.raises(OSError, match="makes no sense"):
            process_pool._read(ours, 8)


def test_every_answer_has_a_slug_of_its_own_or_its_parents():
    """Two unrelated classes never share a slug."""
    for kind in answered():
        same = [other for other in answered() if other.slug == kind.slug]
        assert all(issubclass(other, kind) or issubclass(kind, other) for other in same)
