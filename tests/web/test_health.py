"""Probes and metrics."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.service.app import create_app
from app.service.settings import Settings
from tests.conftest import client_of, png, started_app

pytestmark = pytest.mark.anyio

SPOKEN = ("protocol", "predict")


def values(text):
    """Return the value of each sample by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_model_that_failed_says_so(model_dir, session):
    """Without weights, /readyz and POST /predict answer 503 model-failed."""
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
    """While the model loads, the process is alive, not ready, and serves its page."""
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
    """After a run loop ended, both probes fail, so that the process is restarted."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        await app.state.models.get("colours").loaded.queue.stop()
        answers = [await client.get("/readyz"), await client.get("/healthz")]
        counted = values((await client.get("/metrics")).text)
        # the end of the app would stop it again
        app.state.models.get("colours").loaded = None

    assert 0 == counted["vgg_ready", ("model", "colours")]
    for answer in answers:
        assert (503, "/problems/model-failed") == (answer.status_code, answer.json()["type"])


async def test_draining_is_not_ready_and_still_answers(model_dir, session):
    """A draining server is not ready and still answers requests."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        app.state.draining.set()
        ready = await client.get("/readyz")
        answer = await client.post("/predict", content=png())

    assert (503, "/problems/draining") == (ready.status_code, ready.json()["type"])
    assert 200 == answer.status_code


async def test_metrics_count_every_answer_exactly(client):
    """Requests, stages and batch sizes add up to the requests sent."""
    for colour in ("red", "green", "blue"):
        await client.post("/predict", content=png(colour))
    await client.post("/predict", content=b"no image")
    await client.post("/predict?model=other", content=png())
    found = values((await client.get("/metrics")).text)

    assert 3 == found["vgg_requests_total", ("code", "200"), ("model", "colours"), SPOKEN]
    assert 1 == found["vgg_requests_total", ("code", "415"), ("model", "colours"), SPOKEN]
    assert 1 == found["vgg_requests_total", ("code", "404"), ("model", "none"), SPOKEN]
    assert 4 == found["vgg_request_duration_seconds_count", ("model", "colours"), SPOKEN]
    for stage in ("decode", "queue", "run", "rank"):
        name = "vgg_stage_duration_seconds_count"
        assert 3 == found[name, ("model", "colours"), ("stage", stage)]
    assert 3 == found["vgg_batch_size_sum", ("model", "colours")]
    info = [key for key in found if key[0] == "vgg_model_info"]
    assert [("trained", "false")] == [key[4] for key in info]


async def test_probes_answer_to_head(client):
    """Probes and the page answer HEAD, which some load balancers send."""
    for path in ("/healthz", "/readyz", "/metrics", "/"):
        assert 200 == (await client.head(path)).status_code, path
