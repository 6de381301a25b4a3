"""What every request gets around it."""

import logging

import pytest

from tests.conftest import client_of, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


async def test_unhandled_exception_is_logged_with_the_request(model_dir, session, caplog):
    """The client gets 500 without details; the log has the method, the path and the traceback."""

    async def broken():
        raise ZeroDivisionError("secret")

    async with started_app(model_dir, session) as app, client_of(app) as client:
        app.add_api_route("/broken", broken)
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/broken", headers={"x-request-id": "one"})

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (500, "/problems/internal") == problem(answer)
    assert "secret" not in answer.text
    assert "unhandled exception: GET /broken" == record.getMessage()
    assert "one" == record.__dict__["request_id"]
    assert record.exc_info is not None
