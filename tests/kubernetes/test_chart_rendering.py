"""`heddle install` and Helm make the same objects of the chart, of whatever values, and refuse the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from heddle.cluster.chart import CHART, BadValues, load_chart
from heddle.cluster.chart_values import parse_assignments
from heddle.cluster.template_syntax import TemplateError
from tests.cluster.client import CommandFailed
from tests.cluster.control_plane import ControlPlane

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

KUBE = ("--kube-version", "1.30.0")
"""Without a cluster Helm takes the version that it was linked with, and ours was linked with none."""

VALUES = tuple(sorted((Path(__file__).parent / "values").glob("*.yaml")))
ASSIGNMENTS = (
    "replicas=3,image.tag=v2",
    "gatewaySecretNamespaces={a,b},injection.drain=10s",
    "gatewaySecretNamespaces[0]=edge",
    r"podLabels.example\.org/team=a\,b",
    "priorityClassName=null",
    "tolerations[0].key=spot,tolerations[0].operator=Exists",
    "podAnnotations.empty=",
    "image.tag=007",
)
NONSENSE = (
    ("replicas=lots", "replicas"),
    ("replicas=0", "replicas"),
    ("replica=3", "replica"),
    ("image.repo=x", "repo"),
    ("isDefault=maybe", "isDefault"),
    ("injection.failurePolicy=Retry", "failurePolicy"),
    ("revision=Canary!", "revision"),
    ("certificateLife=forever", "certificateLife"),
    ("sidecarConfig.mode=lazy", "mode"),
    ("sidecarConfig.unusedAfter=never", "unusedAfter"),
    ("gatewaySecretNamespaces=edge", "gatewaySecretNamespaces"),
    ("gatewaySecretNamespaces={edge,edge}", "gatewaySecretNamespaces"),
    ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
    ("networkPolicy.apiServerPorts={70000}", "apiServerPorts"),
    ("podLabels.a=true", "podLabels"),
    ("bindAddress=::", "bindAddress"),
    ("image.digest=sha256:12", "digest"),
    ("injection.resources.cpu=lots", "cpu"),
)


def documents(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found is not None]


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Text of YAML in a ConfigMap is compared as what it says: how it is written is nobody's business."""
    found = {}
    for item in objects:
        metadata = item["metadata"]
        if item["kind"] == "ConfigMap":
            item = {**item, "data": {name: yaml.safe_load(text) for name, text in item["data"].items()}}
        found[item["kind"], metadata.get("namespace", ""), metadata["name"]] = item
    assert len(found) == len(objects)
    return found


def ours(values: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return by_name(list(load_chart().render(values, namespace="mesh", service="Helm").objects))


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_every_set_of_values_makes_what_helm_makes(cluster: ControlPlane, file: Path) -> None:
    theirs = cluster.helm("template", "heddle", str(CHART), "-n", "mesh", *KUBE, "-f", str(file))
    assert ours(yaml.safe_load(file.read_text())) == by_name(documents(theirs))


@pytest.mark.parametrize("assignments", ASSIGNMENTS)
def test_an_assignment_means_what_it_means_to_helm(cluster: ControlPlane, assignments: str) -> None:
    theirs = cluster.helm("template", "heddle", str(CHART), "-n", "mesh", *KUBE, "--set", assignments)
    assert ours(parse_assignments(assignments, {})) == by_name(documents(theirs))


@pytest.mark.parametrize(("assignments", "named"), NONSENSE)
def test_what_helm_refuses_is_refused_and_named(cluster: ControlPlane, assignments: str, named: str) -> None:
    with pytest.raises(CommandFailed, match=named):
        cluster.helm("template", "heddle", str(CHART), "-n", "mesh", *KUBE, "--set", assignments)
    with pytest.raises(BadValues, match=named):
        load_chart().render(parse_assignments(assignments, {}), namespace="mesh")


def test_a_revision_named_as_an_account_of_readers_is_refused_by_both(cluster: ControlPlane) -> None:
    with pytest.raises(CommandFailed, match="ends in reader"):
        cluster.helm("template", "heddle", str(CHART), "-n", "mesh", *KUBE, "--set", "revision=reader")
    with pytest.raises(TemplateError, match="ends in reader"):
        load_chart().render({"revision": "reader"}, namespace="mesh")


def test_helm_finds_nothing_to_say(cluster: ControlPlane) -> None:
    said = cluster.helm("lint", "--strict", str(CHART))
    assert "1 chart(s) linted, 0 chart(s) failed" in said
