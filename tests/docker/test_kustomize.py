"""docker/kubernetes: what kustomize builds is valid, is what the chart makes, and fits the code."""

import pytest

from app.service.owner_process import _GRACE
from app.service.settings import Settings
from app.web.endpoints import KEY, MARKS, PROBE
from tests.docker.chart import VERSIONS, Objects, chart, containers, objects, pods, run, validate
from tests.docker.conftest import read_yaml
from tests.docker.test_compose import SETTINGS

pytestmark = pytest.mark.helm

FOLDERS = ("base", "overlays/gpu", "overlays/protected", "kserve")
PROTECTED = (
    "networkPolicy.enabled=true,auth.existingSecret=vgg-keys,ingress.enabled=true,ingress.path=/vgg"
    ",ingress.className=nginx,ingress.hosts={photos.example.org}"
    ",ingress.tls[0].hosts={photos.example.org},ingress.tls[0].secretName=photos-tls"
)
OF_HELM = {"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"}


def built(folder: str) -> Objects:
    """Return what kustomize makes of a folder."""
    ended = run("kubectl", "kustomize", f"docker/kubernetes/{folder}")
    assert 0 == ended.returncode, ended.stderr
    return objects(ended.stdout)


def plain(one, renamed):
    """Drop what only Helm writes, and call the release and the ConfigMap as the other one does."""
    if isinstance(one, dict):
        kept = {key: plain(value, renamed) for key, value in one.items() if key not in OF_HELM}
        return {k: v for k, v in kept.items() if k != "checksum/settings"}
    if isinstance(one, list):
        return [plain(item, renamed) for item in one]
    return renamed.get(one, one) if isinstance(one, str) else one


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_schemas_of_kubernetes(folder, version):
    """Every object is valid by the strict schemas of an old, a middle and a new Kubernetes."""
    for one in built(folder).values():
        validate(one, version)


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("base", ()),
        ("overlays/gpu", ("--set", "gpu.enabled=true")),
        (
            "overlays/protected",
            ("--set", PROTECTED),
        ),
    ],
)
def test_it_is_what_the_chart_makes(folder, options):
    """Each object is that of the chart with the same choices."""
    ours, of_chart = built(folder), chart(*options)
    name = ours["ConfigMap"]["metadata"]["name"]
    renamed = {"photos-vgg-serve": "vgg-serve", "photos": "vgg-serve", name: "vgg-serve"}

    assert set(ours) == set(of_chart) - {"Pod"}  # `helm test`
    for kind, one in ours.items():
        if kind == "ConfigMap":
            assert of_chart[kind]["data"] == one["data"]
        else:
            left, right = plain(of_chart[kind], renamed), plain(one, renamed)
            left["metadata"].pop("namespace", None)
            if kind == "Ingress":  # the base names the size that the chart leaves to its values
                right["metadata"].pop("annotations")
            assert left == right


# --- KServe ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kserve():
    return built("kserve")


def test_the_model_is_that_of_the_name(kserve):
    """The runtime serves the model that an InferenceService is called after, from the claim of the Job."""
    runtime, service = kserve["ClusterServingRuntime"]["spec"], kserve["InferenceService"]
    model = service["spec"]["predictor"]["model"]
    [container] = runtime["containers"]
    [pull] = kserve["Job"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}

    assert set(environment) <= SETTINGS
    assert ("{{.Name}}", "/mnt/models") == (environment["VGG_MODELS"], environment["VGG_MODEL_DIR"])
    assert service["metadata"]["name"] in pull["args"]
    assert model["runtime"] == kserve["ClusterServingRuntime"]["metadata"]["name"]
    assert [model["modelFormat"]["name"]] == [
        one["name"] for one in runtime["supportedModelFormats"]
    ]
    assert [model["protocolVersion"]] == runtime["protocolVersions"]
    claim = kserve["PersistentVolumeClaim"]["metadata"]["name"]
    assert model["storageUri"] == f"pvc://{claim}"
    assert (
        container["image"]
        == pull["image"]
        == read_yaml("docker-compose.yml")["services"]["api"]["image"]
    )


def test_kserve_probes_and_drain(kserve):
    """Port, probes and the grace period fit the settings of the runtime."""
    runtime, predictor = (
        kserve["ClusterServingRuntime"]["spec"],
        kserve["InferenceService"]["spec"]["predictor"],
    )
    [container] = runtime["containers"]
    settings = {one["name"]: one["value"] for one in container["env"]}
    drain = (int(settings["VGG_DRAIN_DELAY_MS"]) + int(settings["VGG_DRAIN_TIMEOUT_MS"])) / 1000
    port = container["ports"][0]["containerPort"]

    assert drain + _GRACE < predictor["terminationGracePeriodSeconds"]
    assert str(port) == settings["VGG_PORT"] == runtime["annotations"]["prometheus.kserve.io/port"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        marks = MARKS[container[name]["httpGet"]["path"]]
        assert (True, False) == (PROBE in marks, KEY in marks)
        assert port == container[name]["httpGet"]["port"]
    assert PROBE in MARKS[runtime["annotations"]["prometheus.kserve.io/path"]]
    [metric] = predictor["autoScaling"]["metrics"]
    budget = Settings().queue_budget_ms / 1000
    assert str(int(budget / 2)) == metric["external"]["target"]["value"]
    assert {"maxUnavailable": 0, "maxSurge": 1} == predictor["deploymentStrategy"]["rollingUpdate"]


def test_kserve_hardening(kserve):
    """Runtime and Job are restricted, and write into volumes of a limited size alone."""
    runtime = kserve["ClusterServingRuntime"]["spec"]
    job = kserve["Job"]["spec"]["template"]["spec"]
    predictor = kserve["InferenceService"]["spec"]["predictor"]

    for container in (*containers(runtime), *containers(job)):
        context = container["securityContext"]
        assert (False, True) == (
            context["allowPrivilegeEscalation"],
            context["readOnlyRootFilesystem"],
        )
        assert {"drop": ["ALL"]} == context["capabilities"]
        assert {"cpu", "memory"} == set(container["resources"]["limits"])
    for pod in (predictor, job):
        assert pod["securityContext"]["runAsNonRoot"]
        assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
        assert (False, False) == (pod["automountServiceAccountToken"], pod["enableServiceLinks"])


def test_pods_of_the_base_read_no_token():
    """No pod gets a token of the cluster, nor variables of its services."""
    for pod in pods(built("base")):
        assert (False, False) == (pod["automountServiceAccountToken"], pod["enableServiceLinks"])
