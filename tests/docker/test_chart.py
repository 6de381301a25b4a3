"""docker/helm: what the chart makes is valid, hardened, and fits the settings and the code."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from app import __version__
from app.service.owner_process import _GRACE
from app.service.settings import Settings
from app.web.endpoints import KEY, MARKS, PROBE
from tests.conftest import REPOSITORY
from tests.docker.chart import (
    ALL_ON,
    CHART,
    VERSIONS,
    api,
    bytes_of,
    chart,
    containers,
    pods,
    rendered,
    run,
    validate,
)
from tests.docker.conftest import read_yaml
from tests.docker.test_compose import BYTES_OF_VGG16, SETTINGS

pytestmark = pytest.mark.helm

ON = ("-f", str(ALL_ON))
HPA = (*ON, "--set", "autoscaling.kind=hpa")
OF_THE_CHART = {
    "VGG_HOST",
    "VGG_PORT",
    "VGG_GRPC_PORT",
    "VGG_UDS",
    "VGG_UDS_MODE",
    "VGG_MODEL_DIR",
    "VGG_CACHE_DIR",
    "VGG_API_KEYS_FILE",
}
EVERY = pytest.mark.parametrize("options", [(), ON], ids=["default", "all on"])
READS = {"configMap", "secret"}


def settings_of(kinds):
    """Return the settings of a rendered chart, as the service reads them."""
    given = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("VGG_")
    }
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(given | kinds["ConfigMap"]["data"])
    try:
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(kept)


# --- what Helm and Kubernetes say ------------------------------------------------------


@EVERY
def test_lint(options):
    """`helm lint --strict` has nothing to say but that there is no icon."""
    ended = run("helm", "lint", "--strict", str(CHART), *options)
    said = re.findall(r"^\[\w+\].*", ended.stdout, re.MULTILINE)

    assert (0, ["[INFO] Chart.yaml: icon is recommended"]) == (ended.returncode, said)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [(), ON, HPA], ids=["default", "all on", "hpa"])
def test_schemas_of_kubernetes(options, version):
    """Every object is valid by the strict schemas of an old, a middle and a new Kubernetes."""
    for one in chart(*options).values():
        validate(one, version)


def test_every_template_is_tried():
    """With everything on, each template of the chart makes an object."""
    templates = {
        str(path.relative_to(CHART.parent)) for path in (CHART / "templates").rglob("*.yaml")
    }

    assert templates == set(re.findall(r"^# Source: (\S+)", rendered(*ON), re.MULTILINE))


def test_values_that_are_wrong_are_refused():
    """A setting that does not exist, a wrong type and a value that cannot work are named."""
    wrong = {
        "settings.VGG_MODLES=x": "VGG_MODLES",
        "settings.VGG_PORT=1": "VGG_PORT",
        "replicas=3": "replicas",
        "replicaCount=many": "replicaCount",
        "ingress.path=vgg": "/ingress/path",
        "settings.VGG_DRAIN_DELAY_MS=soon": "VGG_DRAIN_DELAY_MS",
        "persistence.existingClaim=mine": "persistence.enabled=true",
        "grpc.enabled=true,grpc.port=8000": "grpc.port",
        "grpc.enabled=true,grpc.port=80": "service.port",
        "autoscaling.minReplicas=11": "autoscaling.maxReplicas",
    }
    for change, named in wrong.items():
        ended = run("helm", "template", "x", str(CHART), "--set", change)
        assert (1, True) == (ended.returncode, named in ended.stderr), (change, ended.stderr)


# --- settings --------------------------------------------------------------------------


def test_settings_of_the_schema():
    """values.schema.json takes each setting but those that the chart decides."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    taken = set(schema["properties"]["settings"]["properties"])

    assert SETTINGS - OF_THE_CHART == taken


@EVERY
def test_the_service_takes_its_settings(options):
    """Each variable is a setting, and the service reads them all without an error."""
    kinds = chart(*options)
    settings = settings_of(kinds)

    assert set(kinds["ConfigMap"]["data"]) <= SETTINGS
    assert ("*", 8000) == (settings.host, settings.port)
    assert ("/vgg" if options else "") == settings.root_path
    assert ("cuda" if options else "cpu") == settings.device
    for container in containers(next(pods(kinds))):
        assert [{"configMapRef": {"name": "photos-vgg-serve"}}] == container["envFrom"]


def test_large_numbers_stay_what_they_are():
    """A size in bytes is not written with an exponent, and a fraction stays one."""
    data = chart("--set", "settings.VGG_MAX_BODY_BYTES=25000000,settings.VGG_RATE_LIMIT=2.5")

    assert "25000000" == data["ConfigMap"]["data"]["VGG_MAX_BODY_BYTES"]
    assert "2.5" == data["ConfigMap"]["data"]["VGG_RATE_LIMIT"]


@EVERY
def test_folders_of_the_settings(options):
    """Weights are read where the init container put them; graphs are written beside; keys are followed."""
    kinds = chart(*options)
    settings = settings_of(kinds)
    [pull] = next(pods(kinds))["initContainers"]
    mounts = {one["mountPath"]: one for one in api(kinds)["volumeMounts"]}
    of_pull = {one["mountPath"]: one for one in pull["volumeMounts"]}

    assert ["pull"] == pull["args"]
    assert mounts[str(settings.model_dir)]["readOnly"]
    assert "readOnly" not in of_pull[str(settings.model_dir)]
    for folder in (str(settings.cache_dir), "/tmp"):  # noqa: S108 (of the container)
        assert "readOnly" not in mounts[folder]
    assert mounts[str(settings.cache_dir)]["name"] == of_pull[str(settings.cache_dir)]["name"]
    if settings.api_keys_file is not None:
        mount = mounts[str(settings.api_keys_file.parent)]
        assert {"name": "keys", "mountPath": "/keys", "readOnly": True} == mount  # no subPath
        assert "keys" == settings.api_keys_file.name


def test_a_changed_setting_starts_new_pods():
    """The pods carry a digest of the settings, since a changed ConfigMap alone changes none."""

    def digest(*options):
        template = chart(*options)["Deployment"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/settings"]

    assert digest() != digest("--set", "settings.VGG_QUEUE_BUDGET_MS=1000")


# --- time ------------------------------------------------------------------------------


@EVERY
def test_grace_is_longer_than_the_drain(options):
    """No pod is killed before it has drained and its fronts have ended."""
    kinds = chart(*options)
    settings = settings_of(kinds)
    drain = (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000

    assert drain + _GRACE < next(pods(kinds))["terminationGracePeriodSeconds"]
    assert settings.drain_timeout_ms >= settings.deadline_ms
    assert settings.drain_delay_ms >= 5000  # for each node to hear that the pod has gone
    assert "lifecycle" not in api(kinds)  # the delay is what a preStop hook would sleep


@EVERY
def test_probes(options):
    """Probes ask what the service answers to everyone, and the start may take as long as a download."""
    kinds = chart(*options)
    container = api(kinds)
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    [port, *others] = container["ports"]
    spec = kinds["Deployment"]["spec"]
    start = probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"]

    assert settings_of(kinds).port == port["containerPort"]
    assert (settings_of(kinds).grpc_port is not None) == bool(others)
    for one in others:  # a client of gRPC comes through the same Service, and the same policy
        assert settings_of(kinds).grpc_port == one["containerPort"]
        assert one["name"] in {each["name"] for each in kinds["Service"]["spec"]["ports"]}
        [allowed] = kinds["NetworkPolicy"]["spec"]["ingress"]
        assert one["name"] in {each["port"] for each in allowed["ports"]}
    for probe in probes.values():
        marks = MARKS[probe["httpGet"]["path"]]
        assert (True, False) == (PROBE in marks, KEY in marks)
        assert port["name"] == probe["httpGet"]["port"]
        assert probe["timeoutSeconds"] <= 5
    assert ["/readyz", "/readyz", "/healthz"] == [one["httpGet"]["path"] for one in probes.values()]
    assert 8 * BYTES_OF_VGG16 / 3e6 < start < spec["progressDeadlineSeconds"]
    ready = probes["readiness"]
    gone = ready["periodSeconds"] * ready["failureThreshold"]
    assert gone < settings_of(kinds).drain_delay_ms / 1000


def test_an_upgrade_never_has_fewer_pods():
    """A new pod is ready before an old one ends, unless one node alone can mount the weights."""
    strategy = chart()["Deployment"]["spec"]["strategy"]
    alone = ("--set", "persistence.enabled=true,persistence.accessModes={ReadWriteOnce}")
    refused = run("helm", "template", "x", str(CHART), *alone)
    one = chart(*alone, "--set", "replicaCount=1")["Deployment"]["spec"]["strategy"]

    assert {"maxUnavailable": 0, "maxSurge": 1} == strategy["rollingUpdate"]
    assert "Use ReadWriteMany, or set replicaCount to 1" in refused.stderr
    assert {"type": "Recreate"} == one


# --- hardening -------------------------------------------------------------------------


@EVERY
def test_restricted_pods(options):
    """Each pod is what the restricted standard asks for, reads its root alone and has no token."""
    for pod in pods(chart(*options)):
        assert {
            "runAsNonRoot": True,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        } == pod["securityContext"]
        assert (False, False) == (pod["automountServiceAccountToken"], pod["enableServiceLinks"])
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in containers(pod):
            assert {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            } == container["securityContext"]
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
        for volume in pod.get("volumes", []):
            [kind] = set(volume) - {"name"}
            assert kind in READS | {"emptyDir", "persistentVolumeClaim"}
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})


def test_any_user():
    """No user is chosen, so that a cluster may; the image's is a number, by which it is not root."""
    [user] = re.findall(r"^USER (\d+):", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    pod = next(pods(chart()))
    chosen = next(pods(chart("--set", "podSecurityContext.fsGroup=null")))

    assert "runAsUser" not in pod["securityContext"]
    assert int(user) == pod["securityContext"]["fsGroup"]
    assert "fsGroup" not in chosen["securityContext"]


def test_resources(compose):
    """Memory is limited as in Compose, and processors to a whole number: one thread for each."""
    limits = api(chart())["resources"]["limits"]
    memory = compose["services"]["api"]["deploy"]["resources"]["limits"]["memory"]
    [tmp] = [one for one in next(pods(chart()))["volumes"] if one["name"] == "tmp"]

    assert memory == f"{bytes_of(limits['memory']) >> 30}g"
    assert limits["cpu"] == str(int(limits["cpu"]))
    assert {"medium": "Memory", "sizeLimit": "64Mi"} == tmp["emptyDir"]


def test_network_policy():
    """The one port is open, and out go names and downloads alone."""
    policy = chart("--set", "networkPolicy.enabled=true")["NetworkPolicy"]["spec"]
    closed = chart("--set", "networkPolicy.enabled=true,networkPolicy.downloadPorts=null")

    assert [{"ports": [{"port": "http", "protocol": "TCP"}]}] == policy["ingress"]
    assert {53, 5353, 443} == {one["port"] for rule in policy["egress"] for one in rule["ports"]}
    assert [] == closed["NetworkPolicy"]["spec"]["egress"]


# --- versions, GPU ---------------------------------------------------------------------


def test_image(compose, gpu):
    """The image is that of Compose, in this version, also on a GPU."""
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    with_gpu = ("--set", "gpu.enabled=true")
    pinned = {one["image"] for one in containers(next(pods(chart(*ON))))}

    assert __version__ == metadata["appVersion"]
    assert compose["services"]["api"]["image"] == api(chart())["image"]
    assert gpu["services"]["api"]["image"] == api(chart(*with_gpu))["image"]
    assert {f"registry.example/vgg-serve@sha256:{'0123456789abcdef' * 4}"} == pinned


def test_gpu():
    """The service gets the devices, and the init container, which only downloads, gets none."""
    pod = next(pods(chart(*ON)))

    assert 2 == api(chart(*ON))["resources"]["limits"]["nvidia.com/gpu"]
    assert "nvidia.com/gpu" not in pod["initContainers"][0]["resources"]["limits"]
    assert "nvidia" == pod["runtimeClassName"]


def test_gpu_without_other_limits():
    """An operator who removes all resources still gets the devices."""
    resources = api(chart("--set", "gpu.enabled=true", "--set", "resources=null"))["resources"]

    assert {"limits": {"nvidia.com/gpu": 1}} == resources


# --- scaling and monitoring ------------------------------------------------------------


def test_scaling_begins_at_half_of_the_budget():
    """Replicas are added before the first photo is refused, and removed slowly."""
    kinds, hpa = chart(*ON), chart(*HPA)
    wait = settings_of(kinds).queue_budget_ms / 1000 / 2
    of_keda, load = kinds["ScaledObject"]["spec"]["triggers"]
    of_hpa = hpa["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]

    assert "replicas" not in kinds["Deployment"]["spec"]
    assert (str(wait), "1") == (of_keda["metadata"]["threshold"], load["metadata"]["threshold"])
    assert str(wait) == of_hpa["target"]["averageValue"]
    assert "vgg_predicted_wait_seconds" == of_hpa["metric"]["name"]
    for trigger in (of_keda, load):
        assert ("Value", "false") == (
            trigger["metricType"],
            trigger["metadata"]["ignoreNullValues"],
        )


def test_monitoring():
    """Alerts are those of docker/prometheus, about this release, with the commands of a cluster."""
    kinds = chart(*ON)
    [group] = kinds["PrometheusRule"]["spec"]["groups"]
    [ours] = read_yaml("docker/prometheus/alerts.yml")["groups"]
    monitor = kinds["ServiceMonitor"]["spec"]
    text = json.dumps(group)

    assert [one["alert"] for one in ours["rules"]] == [one["alert"] for one in group["rules"]]
    for rule in group["rules"]:
        assert 'job="vgg-serve", namespace="ours", service="photos-vgg-serve"' in rule["expr"]
    assert not re.findall(r"docker compose[^`]*|127\.0\.0\.1", text)
    assert "vgg-serve" == kinds["Service"]["metadata"]["labels"][monitor["jobLabel"]]
    [endpoint] = monitor["endpoints"]
    assert PROBE in MARKS[endpoint["path"]]
    assert {"name": "scraper", "key": "api-key"} == endpoint["authorization"]["credentials"]


def test_metrics_need_a_key_too():
    """With keys, a ServiceMonitor without one would only see 401: the chart says so."""
    ended = run(
        "helm", "template", "x", str(CHART),
        "--set", "auth.existingSecret=keys,serviceMonitor.enabled=true",
    )  # fmt: skip

    assert "serviceMonitor.existingSecret: /metrics needs an API key, too" in ended.stderr


QUERIES = """
rule_files: [alerts.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: vgg_predicted_wait_seconds{{{of}, pod="a"}}
        values: "0.5x40"
      - series: vgg_predicted_wait_seconds{{{of}, pod="b"}}
        values: "2.5x40"
      - series: vgg_predicted_wait_seconds{{job="vgg-serve", namespace="theirs", service="x"}}
        values: "9x40"
      - series: vgg_requests_total{{{of}, code="200", pod="a"}}
        values: "0+150x40 6000x40"
      - series: vgg_rejected_total{{{of}, reason="overloaded", pod="b"}}
        values: "0x20 0+300x60"
      - series: vgg_rejected_total{{{of}, reason="rate-limited", pod="b"}}
        values: "0+900x40"
    promql_expr_test:
      - {{expr: '{wait}', eval_time: 9m, exp_samples: [{{labels: "{{}}", value: 2.5}}]}}
      - {{expr: '{load}', eval_time: 4m, exp_samples: [{{labels: "{{}}", value: 0}}]}}
      - {{expr: '{load}', eval_time: 9m, exp_samples: [{{labels: "{{}}", value: 3}}]}}
      - {{expr: '{load}', eval_time: 14m, exp_samples: [{{labels: "{{}}", value: 10}}]}}
      - {{expr: '{load}', eval_time: 60m, exp_samples: [{{labels: "{{}}", value: 0}}]}}
"""


@pytest.mark.prometheus
def test_what_prometheus_computes(tmp_path):
    """Its rules are valid; the load is 3 where two photos are refused for each answer, and 0 where none is."""
    if not shutil.which("promtool"):
        pytest.skip("Debian's package prometheus is not installed")
    kinds = chart(*ON)
    of = 'job="vgg-serve", namespace="ours", service="photos-vgg-serve"'
    wait, load = (one["metadata"]["query"] for one in kinds["ScaledObject"]["spec"]["triggers"])
    (tmp_path / "alerts.yml").write_text(json.dumps(kinds["PrometheusRule"]["spec"]))
    (tmp_path / "test.yml").write_text(QUERIES.format(of=of, wait=wait, load=load))
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "test.yml")):
        ended = subprocess.run(
            ["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert 0 == ended.returncode, ended.stdout + ended.stderr


# --- what a person reads ---------------------------------------------------------------


def test_notes():
    """After an installation it says where the page is, and that anyone may use it, if so."""

    def notes(*options):
        install = ("install", "photos", str(CHART), "--namespace", "ours", "--dry-run=client")
        ended = run("helm", *install, *options)
        assert 0 == ended.returncode, ended.stderr
        return ended.stdout.partition("NOTES:")[2]

    assert "port-forward service/photos-vgg-serve 8000:80" in notes()
    assert "Anyone who can reach the service may use it" in notes()
    assert "https://photos.example.org/vgg/predict" in notes(*ON)
    assert "Anyone" not in notes(*ON)


def test_readme_names_every_value():
    """README.md of the chart has each group of values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = (CHART / "README.md").read_text()

    assert [] == [name for name in values if f"`{name}" not in text]
