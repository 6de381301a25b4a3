"""The description of the API."""

import json

import pytest

from app.errors import (
    BadRequestError,
    RequestError,
    UnknownParameterError,
    UnsupportedFormatError,
    answered,
)
from app.service.app import create_app
from app.service.settings import Settings
from app.web.endpoints import KEY, MARKS
from app.web.keys import make_key
from app.web.parameters import PARAMETERS, PARAMETERS_OF
from app.web.schemas.answers import ExplainedOut
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio


async def test_openapi_has_an_example_of_every_status(client):
    """POST /predict has each status in order, its problems by title, and an example of one."""
    operation = (await client.get("/openapi.json")).json()["paths"]["/predict"]["post"]
    described = {int(status): response for status, response in operation["responses"].items()}
    del described[200]

    errors = {(one.status, one.slug): one for one in answered() if one is not RequestError}
    del errors[401, "unauthorized"]  # this server has no keys
    assert sorted({status for status, _ in errors}) == list(described)
    for (status, _), error in errors.items():
        assert f"{error.title}." in described[status]["description"]
    for status, response in described.items():
        example = response["content"]["application/problem+json"]["example"]
        shown = errors[status, example["type"].removeprefix("/problems/")]
        assert (status, shown.title, shown.example) == (
            example["status"],
            example["title"],
            example["error"],
        )
        assert shown.example
    assert "multipart/form-data" in operation["requestBody"]["content"]


async def test_openapi_has_an_example_of_the_answer(client):
    """The example of 200 has the shape of a real answer, with a cat in it."""
    responses = (await client.get("/openapi.json")).json()["paths"]["/predict"]["post"]["responses"]
    example = responses["200"]["content"]["application/json"]["examples"]["plain"]["value"]
    real = (await client.post("/predict?top_k=1", content=png())).json()

    assert "tabby, tabby cat" == example["predictions"][0]["label"]
    assert shape(real) == shape(example)


async def test_openapi_has_an_example_of_an_explained_answer(client):
    """It follows the schema, and the parameters of a question are described."""
    description = (await client.get("/openapi.json")).json()
    operation = description["paths"]["/predict"]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]
    answer = ExplainedOut.model_validate(content["examples"]["explained"]["value"])
    [row] = answer.predictions
    named = {one["name"]: one["schema"] for one in operation["parameters"]}

    one, tested, several = content["schema"]["anyOf"]
    assert {"$ref": "#/components/schemas/ExplainedOut"} == one
    assert {"$ref": "#/components/schemas/TestedOut"} == tested
    assert [one, {"$ref": "#/components/schemas/ProblemOut"}] == several["items"]["anyOf"]
    assert (212, 0.634, "conv5_3") == (
        row.box and row.box.xmin,
        row.evidence_in_box,
        answer.explanation and answer.explanation.layer,
    )
    assert ["box", "evidence", "heat"] == named["explain"]["items"]["enum"]
    assert {"type": "integer", "minimum": 1, "maximum": 1000} == named["top_k"]["anyOf"][0]
    assert {"explain", "classes", "against", *PARAMETERS} <= set(named)


def shape(value):
    """The names and types in a JSON value."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items()}
        case list():
            return [shape(one) for one in value]
    return type(value)


@pytest.mark.parametrize(
    ("target", "content", "expected"),
    [
        ("/predict?top_k=0", png(), BadRequestError),
        ("/predict?topk=1", png(), UnknownParameterError),
        ("/predict", b"\0\0\0\x18ftypheic", UnsupportedFormatError),
    ],
)
async def test_a_client_gets_the_sentence_of_the_example(client, target, content, expected):
    """The example of an error is a sentence that the service sends."""
    answer = await client.post(target, content=content)

    assert (expected.status, True) == (
        answer.status_code,
        answer.json()["detail"].startswith(expected.example),
    )


@pytest.mark.parametrize(("path", "known"), PARAMETERS_OF.items())
async def test_description_has_every_parameter_of_the_query(client, path, known):
    """Those that an upload may have, and none that would be refused."""
    operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
    described = {one["name"] for one in operation["parameters"] if one["in"] == "query"}

    assert set(known) == described


async def test_description_has_only_what_is_answered(client):
    """FastAPI's 422, which is never sent, is not described; 404 and 503 are."""
    schema = (await client.get("/openapi.json")).json()

    assert "HTTPValidationError" not in json.dumps(schema)
    assert {"200", "404"} == set(schema["paths"]["/models/{name}"]["get"]["responses"])
    assert {"200", "503"} == set(schema["paths"]["/readyz"]["get"]["responses"])


def test_new_error_is_in_the_description():
    """A class of error that is added to the tree needs no entry in the description."""

    class TooGreenError(RequestError):
        """An image that is too green."""

        status = 418
        slug = "too-green"
        title = "The image is too green"

    responses = create_app(Settings()).openapi()["paths"]["/predict"]["post"]["responses"]

    described = responses[str(TooGreenError.status)]
    assert "The image is too green." == described["description"]
    example = described["content"]["application/problem+json"]["example"]
    assert "The image is too green." == example["detail"]


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
    assert {path for path in with_keys["paths"] if KEY in MARKS[path]} == secured
    assert "securitySchemes" not in without["components"]
    assert "401" not in without["paths"]["/predict"]["post"]["responses"]


async def test_docs_have_each_endpoint_in_one_group(client):
    """A protocol is a group, and so are what classifies, the models, and what operators need."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    tags = [one["tags"] for methods in paths.values() for one in methods.values()]

    assert {1} == {len(one) for one in tags}
    assert {"Classify", "Models", "Hugging Face", "TorchServe", "Operate"} < {one for [one] in tags}
