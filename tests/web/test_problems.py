"""Errors that FastAPI and Starlette raise."""

import pytest

from tests.conftest import png

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/models", 405),
     ("GET", "/models/none", 404), ("GET", "/static/../main.py", 404)],
)  # fmt: skip
async def test_wrong_paths_and_methods_are_problems_too(client, method, path, status):
    """404 and 405 are problems like all other errors."""
    answer = await client.request(method, path)

    assert (status, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert status == answer.json()["status"]


@pytest.mark.parametrize(
    "path",
    ["/", "/static/style.css", "/docs", "/docs/assets/swagger-ui.css", "/healthz", "/readyz",
     "/metrics", "/openapi.json", "/models", "/predict"],
)  # fmt: skip
async def test_allow_names_every_method(client, path):
    """The Allow of a 405 names each method that the path has."""
    answers = {
        method: await client.request(method, path) for method in ("GET", "HEAD", "POST", "PUT")
    }
    allowed = {method for method, answer in answers.items() if answer.status_code != 405}

    assert allowed == set(answers["PUT"].headers["allow"].split(", "))


async def test_trailing_slash_is_no_redirect(client):
    """A path with a slash too many is answered without a redirect to the Host that the client sent."""
    answer = await client.post("/predict//", content=png())

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])
