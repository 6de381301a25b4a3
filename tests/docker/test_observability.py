"""Prometheus and Grafana: what they are given fits what the service tells."""

import json
import math
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from app.errors import answered
from app.records import BatchReport
from app.service.settings import Settings
from app.serving.drift.watch import Watch
from app.serving.metrics import Metrics
from app.weights.manifests.baseline import find_baseline
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import REPOSITORY, png, running_server
from tests.docker.conftest import read_yaml

PROMETHEUS = REPOSITORY / "docker" / "prometheus"
ALERT_TESTS = REPOSITORY / "tests" / "docker" / "alerts_test.yml"
GRAFANA = "docker/grafana/provisioning"
DASHBOARD = json.loads((REPOSITORY / "docker/grafana/dashboards/vgg-serve.json").read_text())
EXPRESSIONS = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]
ALERTS = [
    rule for group in read_yaml("docker/prometheus/alerts.yml")["groups"] for rule in group["rules"]
]
PATIENCE = 60
"""Seconds after which data that has not come is missing."""


def names_of_metrics():
    metrics = Metrics()
    metrics.answered("m", 200, 1.0)
    metrics.classified("m", dict.fromkeys(("decode", "queue", "run", "rank"), 0.0))
    metrics.ran("m", BatchReport(1, ((1.0, 1.0),)))
    metrics.add_model(
        "m", device="cpu", weights_sha256="", trained=True, depth=float, predicted_wait=float
    )
    metrics.expect_model("m", float)
    manifest = load_catalog(BUILT_IN)["vgg16-mini"]
    baseline = find_baseline(manifest, BUILT_IN)
    metrics.add_source(Watch("m", trained=True, baseline=baseline).families)
    return set(re.findall(r"^(\w+)", metrics.render().decode(), re.MULTILINE))


# --- what is written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "metric"),
    [
        ("Requests by status", "vgg_requests_total"),
        ("Latency", "vgg_request_duration_seconds"),
        ("Stages, median", "vgg_stage_duration_seconds"),
        ("Stages, p99", "vgg_stage_duration_seconds"),
        ("Batch size", "vgg_batch_size"),
        ("Queue", "vgg_queue_depth"),
        ("Wait: predicted against real", "vgg_predicted_wait_seconds"),
        ("Rejections by reason", "vgg_rejected_total"),
        ("Cancellations by stage", "vgg_cancelled_total"),
        ("Models", "vgg_model_info"),
        ("Ready", "vgg_ready"),
        ("Memory", "process_resident_memory_bytes"),
        ("Drift", "vgg_drift_psi"),
        ("Unusual photos", "vgg_unusual_total"),
        ("Photos: mean of each property", "vgg_image_brightness"),
        ("Photos by format and colour", "vgg_images_total"),
    ],
)
def test_panels(title, metric):
    """The dashboard shows what an operator asks for."""
    assert metric in " ".join(expr for of, expr in EXPRESSIONS if of == title)


def test_nothing_is_asked_for_that_is_not_told():
    """Each metric of the dashboard and of the alerts is one of the service."""
    told = names_of_metrics()
    expressions = [expr for _, expr in EXPRESSIONS] + [rule["expr"] for rule in ALERTS]

    asked = {name for expr in expressions for name in re.findall(r"\b(?:vgg|process)_\w+", expr)}
    assert asked <= told
    assert len(asked) > 10


def test_reasons_of_the_alerts():
    """Each reason for a rejection that an alert names is one."""
    counted = {kind.slug for kind in answered() if kind.counted}
    for rule in ALERTS:
        for reasons in re.findall(r'reason(?:=~|!=|!~)"([^"]+)"', rule["expr"]):
            assert set(reasons.split("|")) <= counted


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts(rule):
    """Each alert has a severity, a sentence, and says what to do first; its tests make it fire."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"] or "model" in rule["expr"]
    assert 80 < len(rule["annotations"]["runbook"]) < 400
    settings = {f"VGG_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"VGG_[A-Z_]+", rule["annotations"]["runbook"])) <= settings
    text = ALERT_TESTS.read_text()
    assert f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}' in text
    assert f"alertname: {rule['alert']}}}" in text


def test_slow_is_slower_than_the_budget():
    """The alert about slow answers tolerates what the service itself tolerates by default."""
    [expr] = [rule["expr"] for rule in ALERTS if rule["alert"] == "VggSlow"]

    assert Settings().queue_budget_ms / 1000 < float(expr.split(">")[-1])


def test_grafana_asks_nobody(compose):
    """What Grafana would send or fetch by default is off: counts, news, plugins, their keys, pictures, snapshots."""
    environment = compose["services"]["grafana"]["environment"]
    off = ("ANALYTICS_", "NEWS_", "PLUGINS_", "SNAPSHOTS_", "SECURITY_")

    assert {
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
    } == {k: v for k, v in environment.items() if k.removeprefix("GF_").startswith(off)}


def test_grafana_finds_everything(compose):
    """Its dashboard asks the source that is provisioned, at the address that Compose gives it."""
    [source] = read_yaml(f"{GRAFANA}/datasources/prometheus.yml")["datasources"]
    [provider] = read_yaml(f"{GRAFANA}/dashboards/dashboards.yml")["providers"]
    grafana = compose["services"]["grafana"]
    prometheus = read_yaml("docker/prometheus/prometheus.yml")

    assert "http://prometheus:9090" == source["url"]
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    for panel in DASHBOARD["panels"]:
        assert source["uid"] == panel["datasource"]["uid"]
        assert panel["description"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/vgg-serve.json"
    assert f"./docker/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    [scrape] = prometheus["scrape_configs"]
    assert [{"targets": ["api:8000"]}] == scrape["static_configs"]


# --- what really happens ---------------------------------------------------------------


def promtool(*arguments):
    if not shutil.which("promtool"):
        pytest.skip("Debian's package prometheus is not installed")
    ended = subprocess.run(
        ["promtool", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr


@pytest.mark.prometheus
def test_prometheus_accepts_its_files():
    """Configuration and rules are what Prometheus can read."""
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", "--lint-fatal", str(PROMETHEUS / "alerts.yml"))


@pytest.mark.prometheus
def test_alerts_fire_when_they_should():
    """Each alert fires for what it is named for, and not for a healthy service under load."""
    promtool("test", "rules", str(ALERT_TESTS))


@contextmanager
def prometheus(folder, target):
    """Start Prometheus with our files, but for a target of this machine, asked each second."""
    if not shutil.which("prometheus"):
        pytest.skip("Debian's package prometheus is not installed")
    config = (PROMETHEUS / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(config.replace("api:8000", target).replace("15s", "1s"))
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    )
    transport = httpx.HTTPTransport(retries=10)  # until it listens; waits a little longer each time
    try:
        with httpx.Client(transport=transport, base_url=f"http://{address}/api/v1") as client:
            end = time.monotonic() + PATIENCE
            while not client.get(f"http://{address}/-/ready").is_success:  # it listens before
                assert time.monotonic() < end
            yield client
    finally:
        process.terminate()
        process.wait(30)


def asked(client, expr):
    """Return the samples of an expression of the dashboard, those that are no numbers left out."""
    query = expr.replace("$__rate_interval", "10s").replace("$model", ".*")
    answer = client.get("/query", params={"query": query}).json()
    assert "success" == answer["status"], (expr, answer)
    return [row for row in answer["data"]["result"] if math.isfinite(float(row["value"][1]))]


@pytest.mark.prometheus
def test_a_loaded_service_fills_the_dashboard(model_dir, tmp_path):
    """Prometheus scrapes a service under load, and every expression of the dashboard has data."""
    with (
        running_server(model_dir, models="vgg16-mini") as server,
        httpx.Client(base_url=server.url) as service,
        prometheus(tmp_path, server.url.removeprefix("http://")) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        missing = EXPRESSIONS
        bodies = [png()] * 63 + [b"no photo"]
        end = time.monotonic() + PATIENCE
        while missing and time.monotonic() < end:
            list(pool.map(lambda body: service.post("/predict", content=body), bodies))
            missing = [(title, expr) for title, expr in missing if not asked(client, expr)]
        codes = {
            row["metric"]["code"] for row in asked(client, dict(EXPRESSIONS)["Requests by status"])
        }
        [ready] = asked(client, dict(EXPRESSIONS)["Ready"])
        [model] = asked(client, dict(EXPRESSIONS)["Models"])
        [group] = client.get("/rules").json()["data"]["groups"]

    assert [] == missing
    assert {"200", "415"} <= codes
    assert "1" == ready["value"][1]
    assert {"model": "vgg16-mini", "device": "cpu", "trained": "true"}.items() <= model[
        "metric"
    ].items()
    for rule in group["rules"]:
        assert "ok" == rule["health"], rule
        assert "firing" != rule["state"], rule
