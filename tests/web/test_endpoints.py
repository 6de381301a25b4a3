"""The table of paths."""

from typing import get_args

import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from app.service.app import create_app
from app.service.settings import Settings
from app.serving.metrics import Protocol
from app.web.endpoints import KEY, MARKS, PROTOCOL_OF, Endpoint, model_in


def paths(app: FastAPI) -> set[str]:
    """Return the paths that an app has routes for, of those of its routers too."""

    def walk(routes):
        for route in routes:
            if isinstance(route, Mount):
                yield f"{route.path}/{{path:path}}"
            elif hasattr(route, "path"):
                yield route.path
            else:
                yield from walk(route.original_router.routes)

    return set(walk(app.routes))


@pytest.fixture
def app():
    return create_app(Settings())


def test_every_route_has_a_row_and_every_row_a_route(app):
    """An endpoint is a router function and a row of the table; neither is enough."""
    assert {endpoint.path for endpoint in Endpoint} == paths(app)


def test_route_without_a_row_is_seen(app):
    """The comparison above fails for an endpoint that was added to a router alone."""
    app.add_api_route("/new", lambda: None)

    assert {"/new"} == paths(app) - {endpoint.path for endpoint in Endpoint}


def test_path_without_a_row_needs_a_key():
    """A forgotten endpoint is locked, unlimited and logged; nothing is opened by mistake."""
    for path in ("/new", "/modelsx", "/models/a/b", "/predict/", "//", ""):
        assert (KEY,) == MARKS[path]


@pytest.mark.parametrize("path", ["/models/vgg16", "/static/a/b.css", "/docs/assets/x.js", "/"])
def test_parameters_of_a_path_match(path):
    """A row with a parameter holds for every value of it."""
    assert () == MARKS[path]


def test_the_marks_of_a_path_say_what_its_clients_speak():
    """One protocol at most; where nothing is said, it is this service's own."""
    assert PROTOCOL_OF.keys() <= set(MARKS.values())
    assert MARKS["/predict"] not in PROTOCOL_OF
    for one in Endpoint:
        assert len(set(one.marks) & set(get_args(Protocol))) <= 1


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/predict", ("/predict", None)),
        ("/models/vgg16", ("/models/{name}", None)),
        ("/nothing", ("/nothing", None)),
        ("/hf/vgg16", ("/hf/{model}", "vgg16")),
        ("/hf/vgg16/boxes", ("/hf/{model}/boxes", "vgg16")),
        ("/hf/{model}", ("/hf/{model}", "{model}")),
        ("/v1/models/a:b:predict", ("/v1/models/{model}:predict", "a:b")),
        ("/predictions/vgg16/1", ("/predictions/{model}/{version}", "vgg16")),
    ],
)
def test_a_path_names_a_model(path, found):
    """Its row, and the model for which it uploads."""
    assert found == model_in(path)
