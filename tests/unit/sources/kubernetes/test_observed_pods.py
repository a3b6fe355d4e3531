"""Pods of a cluster: what is taken from them, who is meshed, where they are."""

from __future__ import annotations

from typing import Any

import pytest

from model.pods import INJECTED
from model.services import Locality
from sources.kubernetes.observed_pods import PlacedPods, is_meshed, to_locality, to_observed_pod
from tests.kubernetes_api import objects

SIDECAR = [{"name": "istio-proxy"}]
OURS = {INJECTED: "{}"}


@pytest.mark.parametrize(
    ("annotations", "spec", "expected"),
    [
        (OURS, {"initContainers": SIDECAR, "containers": [{"name": "app"}]}, True),
        (OURS, {"containers": SIDECAR}, True),
        ({"sidecar.istio.io/status": "{}"}, {"containers": SIDECAR}, False),
        (OURS, {"containers": [{"name": "app"}]}, False),
        ({}, {}, False),
    ],
)
def test_a_pod_is_meshed_by_our_annotation_and_a_sidecar(
    annotations: dict[str, str], spec: dict[str, Any], expected: bool
) -> None:
    assert is_meshed(annotations, spec) is expected


def test_what_is_taken_of_a_pod() -> None:
    item = objects.pod("web-abc-1", "10.0.0.1", node="n1")
    item["metadata"]["labels"]["pod-template-hash"] = "abc"
    item["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-abc", "controller": True}]
    item["metadata"]["annotations"]["traffic.sidecar.istio.io/x"] = "1"
    item["metadata"]["annotations"]["heddle.io/sidecar-config"] = "eager"
    item["status"]["podIPs"] = [{"ip": "FD00::1"}, {"ip": "10.0.0.1"}]
    observed = to_observed_pod(item)
    assert observed is not None
    pod = observed.pod
    assert (observed.node, pod.uid, pod.workload, pod.service_account) == ("n1", "uid-web-abc-1", "web", "web")
    assert (pod.addresses, pod.ready, pod.meshed) == (("10.0.0.1", "fd00::1"), True, True)
    assert pod.annotations == {"traffic.sidecar.istio.io/x": "1", "heddle.io/sidecar-config": "eager"}
    assert [(port.number, port.name) for port in pod.ports] == [(8080, "")]


def test_a_native_sidecar_has_ports_that_a_service_may_name() -> None:
    item = objects.pod("web-1", "10.0.0.1")
    item["spec"]["initContainers"] += [
        {"name": "auth", "restartPolicy": "Always", "ports": [{"containerPort": 9000, "name": "auth"}]},
        {"name": "migrate", "ports": [{"containerPort": 9001, "name": "gone"}]},
    ]
    item["spec"]["initContainers"][0] |= {"restartPolicy": "Always", "ports": [{"containerPort": 15090}]}
    observed = to_observed_pod(item)
    assert observed is not None
    assert [(port.number, port.name) for port in observed.pod.ports] == [(8080, ""), (9000, "auth")]


def test_the_jobs_of_a_cron_job_are_one_workload() -> None:
    item = objects.pod("report-29401234-x", "10.0.0.1")
    item["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "report-29401234", "controller": True}]
    observed = to_observed_pod(item)
    assert observed is not None
    assert observed.pod.workload == "report"


def test_nodes_that_are_gone_leave_nothing() -> None:
    placed = PlacedPods()
    for number in range(10):
        placed.put_pod("web-1", to_observed_pod(objects.pod("web-1", "10.0.0.1", node=f"n{number}")))
    assert len(placed._on_node) == 1
    placed.put_pod("web-1", None)
    assert not placed._on_node


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_is_gone(phase: str) -> None:
    item = objects.pod("job", "10.0.0.1")
    item["status"]["phase"] = phase
    assert to_observed_pod(item) is None


def test_a_pod_without_an_address_is_there_already() -> None:
    observed = to_observed_pod(objects.pod("new", ""))
    assert observed is not None
    assert (observed.pod.addresses, observed.pod.ready) == ((), False)


def test_the_address_of_a_node_names_no_pod() -> None:
    item = objects.pod("agent", "10.0.0.1", meshed=False)
    item["spec"]["hostNetwork"] = True
    observed = to_observed_pod(item)
    assert observed is not None
    assert observed.pod.addresses == ()


def test_a_pod_is_where_its_node_is_unless_it_says_otherwise() -> None:
    placed = PlacedPods()
    here, there = objects.pod("here", "10.0.0.1", node="n1"), objects.pod("there", "10.0.0.2", node="n1")
    there["metadata"]["labels"]["istio-locality"] = "us.us-1"
    for item in (here, there):
        assert placed.put_pod(item["metadata"]["name"], to_observed_pod(item))
    assert placed.put_node("n1", to_locality(objects.node("n1", "eu", "eu-1")))
    assert [pod.locality for pod in placed.pods] == [
        Locality(region="eu", zone="eu-1"),
        Locality(region="us", zone="us-1"),
    ]
    assert not placed.put_node("n1", to_locality(objects.node("n1", "eu", "eu-1")))
    assert not placed.put_pod("here", to_observed_pod(here))
    assert placed.put_node("n1", None)
    assert next(iter(placed.pods)).locality == Locality()
    assert placed.put_pod("here", None)
    assert not placed.put_pod("here", None)
