"""The Helm chart, rendered by helm, and what Kubernetes says of the result."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import REPOSITORY

CHART = REPOSITORY / "docker" / "helm" / "vgg-serve"
ALL_ON = REPOSITORY / "tests" / "docker" / "chart_all_on.yaml"
VERSIONS = ("1.27", "1.32", "1.37")
"""Of Kubernetes: the oldest that the chart allows, and the newest whose schemas there are."""
FOREIGN = {"monitoring.coreos.com", "keda.sh", "serving.kserve.io"}
"""Groups of kinds that are not Kubernetes' own."""
Objects = dict[str, dict[str, Any]]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl, if it is there."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed; python -m tests.docker.get_helm FOLDER gets it")
    return subprocess.run(
        [program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@cache
def rendered(*options: str) -> str:
    """Return what `helm template` prints for the release `photos` in the namespace `ours`."""
    ended = run("helm", "template", "photos", str(CHART), "--namespace", "ours", *options)
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout


def objects(text: str) -> Objects:
    """Return the objects of a text by their kinds; there is one of each."""
    found = [one for one in yaml.safe_load_all(text) if one]
    kinds = {one["kind"]: one for one in found}
    assert len(kinds) == len(found)
    return kinds


def chart(*options: str) -> Objects:
    """Return the objects that the chart makes."""
    return objects(rendered(*options))


def validate(one: dict[str, Any], version: str) -> None:
    """Raise if the schemas of Kubernetes refuse one of its own kinds, or do not know a member of it."""
    if one["apiVersion"].split("/")[0] not in FOREIGN:
        kubernetes_validate.validate(one, version, strict=True)


def pods(kinds: Objects) -> Iterator[dict[str, Any]]:
    """Yield the specification of each pod."""
    for one in kinds.values():
        if one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]
        if one["kind"] == "Pod":
            yield one["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def api(kinds: Objects) -> dict[str, Any]:
    """Return the container that serves."""
    [one] = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    container: dict[str, Any] = one
    return container


def bytes_of(quantity: str) -> int:
    """Return the bytes of an amount of memory, such as 3Gi."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr] # no other is used
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]
