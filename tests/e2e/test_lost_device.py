"""A GPU that fails for good ends the process, so that whoever watches it starts it anew."""

import httpx

from tests.conftest import png, running_server


def test_a_lost_gpu_ends_the_process(model_dir):
    """The request gets its 503, the probes fail while it drains, and the exit status is 1."""
    with running_server(
        model_dir, module="tests.e2e.failing_gpu", models="colours", drain_delay_ms="1500"
    ) as server:
        good = httpx.post(f"{server.url}/predict", content=png("red"))
        answer = httpx.post(f"{server.url}/predict", content=png("black"))
        live = httpx.get(f"{server.url}/healthz")
        ready = httpx.get(f"{server.url}/readyz")
        later = httpx.post(f"{server.url}/predict", content=png("lime"))
        status = server.process.wait(30)

    assert 200 == good.status_code
    assert (503, "/problems/model-failed") == (answer.status_code, answer.json()["type"])
    assert (503, 503, 503) == (live.status_code, ready.status_code, later.status_code)
    assert 1 == status
    server.wait_for("a GPU has failed for good")
