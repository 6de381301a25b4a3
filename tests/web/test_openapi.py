"""The description of the API."""

import json

import pytest

from app.errors import RequestError, answered
from app.service.app import create_app
from app.service.settings import Settings
from app.web.keys import make_key
from tests.conftest import client_of, started_app

pytestmark = pytest.mark.anyio


async def test_openapi_has_an_example_of_every_problem(client):
    """The description of POST /predict shows each status, with an example of each problem."""
    operation = (await client.get("/openapi.json")).json()["paths"]["/predict"]["post"]
    shown = {
        (int(status), slug): example["value"]
        for status, response in operation["responses"].items()
        if status != "200"
        for slug, example in response["content"]["application/problem+json"]["examples"].items()
    }

    expected = {(error.status, error.slug): error.title for error in answered()}
    del expected[401, "unauthorized"]  # this server has no keys
    assert expected == {problem: example["title"] for problem, example in shown.items()}
    for (status, slug), example in shown.items():
        assert (status, f"/problems/{slug}") == (example["status"], example["type"])
    assert "multipart/form-data" in operation["requestBody"]["content"]


async def test_description_has_only_what_is_answered(client):
    """FastAPI's 422, which is never sent, is not described; 404 and 503 are."""
    schema = (await client.get("/openapi.json")).json()

    assert "HTTPValidationError" not in json.dumps(schema)
    assert {"200", "404"} == set(schema["paths"]["/models/{name}"]["get"]["responses"])
    assert {"200", "503"} == set(schema["paths"]["/readyz"]["get"]["responses"])


def test_new_error_is_in_the_description():
    """A class of error that is added to the tree needs no entry in the description."""

    class TooBlueError(RequestError):
        """An image that is too blue."""

        status = 418
        slug = "too-blue"

    responses = create_app(Settings()).openapi()["paths"]["/predict"]["post"]["responses"]

    assert "An image that is too blue." == responses[str(TooBlueError.status)]["description"]


async def test_description_declares_the_keys_where_there_are_some(model_dir, session, tmp_path):
    """With keys, /openapi.json has their scheme and 401 for paths that need one; without, neither."""
    keys_file = tmp_path / "keys"
    keys_file.write_text(make_key("alice")[1])
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        with_keys = (await client.get("/openapi.json")).json()
    async with started_app(model_dir, session) as app, client_of(app) as client:
        without = (await client.get("/openapi.json")).json()

    assert {"key": "bearer"} == {
        name: scheme["scheme"]
        for name, scheme in with_keys["components"]["securitySchemes"].items()
    }
    secured = {
        path
        for path, operations in with_keys["paths"].items()
        for operation in operations.values()
        if operation.get("security") and "401" in operation["responses"]
    }
    assert {"/predict", "/metrics"} == secured
    assert "securitySchemes" not in without["components"]
    assert "401" not in without["paths"]["/predict"]["post"]["responses"]
