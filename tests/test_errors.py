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
