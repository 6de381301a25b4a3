"""What the chart makes for KEDA and for the Prometheus operator is valid by schemas of npm's registry."""

import copy
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.chart import FOREIGN, chart
from tests.docker.test_chart import ON

pytestmark = [pytest.mark.helm, pytest.mark.registry]

PACKAGES = ("@kubernetes-models/keda@0.4.2", "@kubernetes-models/prometheus-operator@6.0.0")
PROGRAM = Path(__file__).with_name("operators.mjs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the packages and the program that asks them."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not there (Debian: apt-get install nodejs npm)")
    folder = tmp_path_factory.mktemp("operators")
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder))
    ended = subprocess.run(
        ["npm", "install", *quiet, *PACKAGES], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        pytest.skip(f"npm's registry cannot be reached: {ended.stderr[-300:]}")
    shutil.copy(PROGRAM, folder)
    return folder


def ask(folder, objects):
    return subprocess.run(
        ["node", PROGRAM.name],
        cwd=folder,
        input=json.dumps(objects),
        capture_output=True,
        text=True,
        check=False,
    )


def test_objects_of_operators(folder):
    """All three kinds are valid, and a member of a wrong type would be named."""
    ours = [one for one in chart(*ON).values() if one["apiVersion"].split("/")[0] in FOREIGN]
    wrong = copy.deepcopy(ours)
    [scaled] = [one for one in wrong if one["kind"] == "ScaledObject"]
    scaled["spec"]["maxReplicaCount"] = "many"
    valid, refused = ask(folder, ours), ask(folder, wrong)

    assert 0 == valid.returncode, valid.stderr
    assert {"ScaledObject", "ServiceMonitor", "PrometheusRule"} == set(valid.stdout.split())
    assert "data/spec/maxReplicaCount must be integer" in refused.stderr
