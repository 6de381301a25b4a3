import re

from app import errors
from app.errors import RequestError, ServiceError, VggServeError


def test_tree_in_the_docstring_is_the_tree():
    """The docstring names every error, with its status and its slug."""
    drawn = {
        match[1]: (match[2], match[3])
        for match in re.finditer(r"(\w+Error)\b(?: +(\d{3}) ([\w-]+))?", errors.__doc__ or "")
    }
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__
    ]
    concrete = {
        c.__name__: (str(c.status), c.slug)
        for c in classes
        if issubclass(c, RequestError | ServiceError) and c not in {RequestError, ServiceError}
    }

    assert {c.__name__ for c in classes} == set(drawn)
    assert concrete == {name: row for name, row in drawn.items() if row[0]}


def test_all_errors_have_one_root():
    """Whoever wants all of ours catches VggServeError."""
    classes = [c for c in vars(errors).values() if isinstance(c, type)]

    assert all(issubclass(c, VggServeError) for c in classes if c.__module__ == errors.__name__)


def test_whoever_is_told_503_is_told_when_to_come_back():
    """Each error that is a 503 knows the seconds, unless it was told better."""
    busy = [
        c
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, ServiceError) and c.status == 503
    ]

    assert 5 == len(busy)
    for error in busy:
        assert error("why").retry_after
        assert 0.5 == error("why", retry_after=0.5).retry_after
