"""Everything beside POST /predict: models, health, metrics, docs, problems, headers."""

import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.errors import RequestError, answered
from app.service.app import create_app
from app.service.settings import Settings
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio


def values(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_models_lists_what_is_served(client):
    """GET /models names each model, its state and whether it is trained."""
    answer = (await client.get("/models")).json()

    expected = {
        "name": "colours",
        "title": "Tells three colours apart",
        "default": True,
        "state": "ready",
        "trained": False,
    }
    assert {"models": [expected]} == answer


async def test_model_shows_what_a_run_costs(client):
    """GET /models/{name} shows the batch sizes and their measured and fitted cost."""
    batching = (await client.get("/models/colours")).json()["batching"]

    assert 1 == batching["sizes"][0]
    assert {str(size) for size in batching["sizes"]} == set(batching["seconds"])
    assert batching["seconds_per_image"] >= 0
    assert batching["seconds_per_run"] >= 0


async def test_vgg_model_shows_its_layer_table(model_dir, session):
    """For a VGG every claim about the architecture can be read from its layer table."""
    async with (
        started_app(model_dir, session, models="vgg16", offline=True) as app,
        client_of(app) as client,
    ):
        model = (await client.get("/models/vgg16")).json()

    assert ("failed", "D") == (model["state"], model["configuration"])
    assert 138_357_544 == model["parameters"]
    assert 138_357_544 == sum(layer["parameters"] for layer in model["layers"])
    convolutions = [layer for layer in model["layers"] if layer["kind"] == "convolution"]
    assert [(3, 1)] * 13 == [(layer["kernel"], layer["stride"]) for layer in convolutions]


async def test_model_that_failed_says_so(model_dir, session):
    """Without weights /readyz is 503 and a request is told that the model is not available."""
    async with (
        started_app(model_dir, session, models="vgg16", offline=True) as app,
        client_of(app) as client,
    ):
        ready = await client.get("/readyz")
        predict = await client.post("/predict", content=png())
        alive = await client.get("/healthz")

    assert [503, 503, 200] == [ready.status_code, predict.status_code, alive.status_code]
    assert "/problems/model-failed" == predict.json()["type"]
    assert "retry-after" in predict.headers


async def test_probes_and_page_answer_while_the_model_loads(model_dir, session, client_gate):
    """Before the model is ready the process is alive, not ready, and shows its page."""
    session.before_run = client_gate.wait  # warming up cannot end
    app = create_app(Settings(models=("colours",), model_dir=model_dir), session.open)
    async with app.router.lifespan_context(app), client_of(app) as client:
        live, ready, page, predict = [
            await client.get("/healthz"),
            await client.get("/readyz"),
            await client.get("/"),
            await client.post("/predict", content=png()),
        ]
        client_gate.set()
        await app.state.loading
        later = await client.get("/readyz")

    assert [200, 503, 200, 503] == [x.status_code for x in (live, ready, page, predict)]
    assert "/problems/not-ready" == predict.json()["type"]
    assert "retry-after" in predict.headers
    assert 200 == later.status_code


async def test_model_that_stopped_is_neither_alive_nor_ready(model_dir, session):
    """Once a run loop is dead, a load balancer sends nothing more, and a restart is asked for."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        await app.state.models.get("colours").loaded.classifier.batcher.stop()
        answers = [await client.get("/readyz"), await client.get("/healthz")]
        counted = values((await client.get("/metrics")).text)
        # What was stopped is stopped once more at the end of the app.
        app.state.models.get("colours").loaded = None

    assert 0 == counted["vgg_ready", ("model", "colours")]
    for answer in answers:
        assert (503, "/problems/model-failed") == (answer.status_code, answer.json()["type"])


async def test_draining_is_not_ready_and_still_answers(model_dir, session):
    """Once told to stop, it says that it is not ready and goes on with what still comes."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        app.state.draining.set()
        ready = await client.get("/readyz")
        answer = await client.post("/predict", content=png())

    assert (503, "/problems/draining") == (ready.status_code, ready.json()["type"])
    assert 200 == answer.status_code


async def test_metrics_count_every_answer_exactly(client):
    """Requests, stages and batch sizes add up to what was asked."""
    for colour in ("red", "green", "blue"):
        await client.post("/predict", content=png(colour))
    await client.post("/predict", content=b"no image")
    await client.post("/predict?model=other", content=png())
    found = values((await client.get("/metrics")).text)

    assert 3 == found["vgg_requests_total", ("code", "200"), ("model", "colours")]
    assert 1 == found["vgg_requests_total", ("code", "415"), ("model", "colours")]
    assert 1 == found["vgg_requests_total", ("code", "404"), ("model", "none")]
    assert 4 == found["vgg_request_duration_seconds_count", ("model", "colours")]
    for stage in ("decode", "queue", "run", "rank"):
        name = "vgg_stage_duration_seconds_count"
        assert 3 == found[name, ("model", "colours"), ("stage", stage)]
    assert 3 == found["vgg_batch_size_sum", ("model", "colours")]
    info = [key for key in found if key[0] == "vgg_model_info"]
    assert [("trained", "false")] == [key[4] for key in info]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/models", 405),
     ("GET", "/models/none", 404), ("GET", "/static/../main.py", 404)],
)  # fmt: skip
async def test_wrong_paths_and_methods_are_problems_too(client, method, path, status):
    """404 and 405 have the shape of all other errors."""
    answer = await client.request(method, path)

    assert (status, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert status == answer.json()["status"]


async def test_docs_ask_no_other_host(client):
    """/docs and its assets come from this server alone."""
    docs = await client.get("/docs")
    assets = [part.split('"')[0] for part in docs.text.split('"/docs/assets/')[1:]]

    assert 200 == docs.status_code
    assert "http://" not in docs.text.replace("http://test", "")
    assert "https://" not in docs.text
    assert 3 == len(assets)
    for asset in assets:
        assert 200 == (await client.get(f"/docs/assets/{asset}")).status_code


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


def test_new_error_is_in_the_description():
    """A class of error that is added to the tree needs no entry in the description."""

    class TooBlueError(RequestError):
        """An image that is too blue."""

        status = 418
        slug = "too-blue"

    responses = create_app(Settings()).openapi()["paths"]["/predict"]["post"]["responses"]

    assert "An image that is too blue." == responses[str(TooBlueError.status)]["description"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/docs"), ("GET", "/static/style.css"), ("GET", "/models"),
     ("GET", "/openapi.json"), ("GET", "/nothing"), ("DELETE", "/predict"), ("POST", "/predict"),
     ("GET", "/metrics"), ("GET", "/static/nothing"), ("HEAD", "/healthz")],
)  # fmt: skip
async def test_every_answer_carries_safe_headers(client, method, path):
    """Pages, files, errors and answers alike are not to be sniffed, framed, leaked or run."""
    headers = (await client.request(method, path)).headers

    assert "nosniff" == headers["x-content-type-options"]
    assert "no-referrer" == headers["referrer-policy"]
    assert "same-origin" == headers["cross-origin-opener-policy"]
    assert "same-origin" == headers["cross-origin-resource-policy"]
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_one_line_in_the_log_a_request(client, caplog):
    """A request is one event with its id, status and sizes, and no content."""
    with caplog.at_level(logging.INFO, logger="app.web.middleware.envelope"):
        await client.post("/predict", content=png(), headers={"x-request-id": "one"})

    [record] = [r for r in caplog.records if getattr(r, "request_id", "") == "one"]
    assert ("POST /predict 200", 200) == (record.getMessage(), record.status)
    assert (48, 40, "png", len(png())) == (
        record.width,
        record.height,
        record.format,
        record.bytes,
    )
    assert "tench" not in json.dumps(record.__dict__, default=str)


async def test_description_has_only_what_is_answered(client):
    """FastAPI's own 422 is described nowhere; a model that is not there, 404, is."""
    schema = (await client.get("/openapi.json")).json()

    assert "HTTPValidationError" not in json.dumps(schema)
    assert {"200", "404"} == set(schema["paths"]["/models/{name}"]["get"]["responses"])
    assert {"200", "503"} == set(schema["paths"]["/readyz"]["get"]["responses"])


async def test_probes_answer_to_head(client):
    """Load balancers that ask with HEAD are answered."""
    for path in ("/healthz", "/readyz", "/metrics", "/"):
        assert 200 == (await client.head(path)).status_code, path


async def test_trailing_slash_is_no_redirect(client):
    """A wrong path is a problem, not a redirect to a host that the client named."""
    answer = await client.post("/predict/", content=png())

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])


async def test_stand_in_claims_no_accuracy(model_dir, session):
    """Untrained weights are not shown with the accuracy of the trained ones."""
    manifest = model_dir / "colours.toml"
    accuracy = '[accuracy]\ntop1 = 71.6\ntop5 = 90.4\nsource = "somebody"\n'
    manifest.write_text(f"{manifest.read_text()}{accuracy}")
    async with started_app(model_dir, session) as app, client_of(app) as client:
        model = (await client.get("/models/colours")).json()

    assert (False, None) == (model["trained"], model["accuracy"])


async def test_control_characters_stay_out_of_the_log(client, caplog):
    """A path can neither begin a line of the log nor move a terminal's cursor."""
    with caplog.at_level(logging.INFO, logger="app.web.middleware.envelope"):
        await client.get("/%0A12:00:00%20forged%1b[31m")

    assert "\n" not in caplog.records[-1].getMessage()
    assert "\x1b" not in caplog.records[-1].getMessage()


@pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=9-1", "bytes=99999999-", "nonsense"])
async def test_files_of_the_page_are_whole(client, wanted):
    """A Range, however wrong, is not answered in parts, nor in plain text."""
    whole = await client.get("/static/style.css")
    answer = await client.get("/static/style.css", headers={"range": wanted})

    assert (200, whole.content) == (answer.status_code, answer.content)
