"""The control plane of the tests is a real one: what it admits, refuses, makes and keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.cluster.client import CommandFailed
from tests.cluster.control_plane import API_SERVER, CONTROLLERS, ControlPlane
from tests.kubernetes.watch import Watch

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

T = TypeVar("T")

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""

# The EndpointSlice controller leaves out pods whose Node does not exist.
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: client, image: example/client}]}
"""

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: splits.test.heddle}
spec:
  group: test.heddle
  scope: Namespaced
  names: {kind: Split, plural: splits, singular: split}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties: {weights: {type: array, maxItems: 10, items: {type: integer}}}
              x-kubernetes-validations:
                - {rule: "self.weights.sum() == 100", message: "weights must sum to 100"}
"""


def eventually(look: Callable[[], T | None], limit_seconds: float = 60) -> T:
    """What `look` finds once it finds something; asks again and again until then."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
    raise AssertionError(f"nothing after {limit_seconds} s")


def apply(cluster: ControlPlane, namespace: str, manifests: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifests)


def review(cluster: ControlPlane, token: str, audience: str) -> dict[str, object]:
    """The status of a TokenReview."""
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    answer = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(asked)))
    status: dict[str, object] = answer["status"]
    return status


def list_configmaps(cluster: ControlPlane, namespace: str) -> tuple[str, str]:
    """The path of a namespace's ConfigMaps and their list's resource version, which kubectl's own output leaves out."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    return path, json.loads(cluster.kubectl("get", "--raw", path))["metadata"]["resourceVersion"]


def test_a_deployment_makes_pods_that_nobody_schedules(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, namespace, DEPLOYMENT)
    cluster.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.replicas}=2", "deployment/web", "--timeout=50s")
    pods = cluster.admin.get("pods", "-n", namespace, "-l", "app=web")["items"]
    assert [(pod["status"]["phase"], "nodeName" in pod["spec"]) for pod in pods] == [("Pending", False)] * 2
    assert all("serviceAccountToken" in str(pod["spec"]["volumes"]) for pod in pods)


def test_an_endpoint_slice_follows_a_pod_that_becomes_ready(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, namespace, DEPLOYMENT)
    wait = ("wait", "-n", namespace, "--timeout=50s")
    cluster.kubectl(*wait, "--for=jsonpath={.status.replicas}=2", "deployment/web")
    pod = cluster.admin.get("pods", "-n", namespace, "-l", "app=web")["items"][0]["metadata"]["name"]
    # What a kubelet and a scheduler would do.
    cluster.admin.apply(NODE)
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod},
        "target": {"kind": "Node", "name": "n1"},
    }
    created = f"/api/v1/namespaces/{namespace}/pods/{pod}/binding"
    cluster.kubectl("create", "--raw", created, "-f", "-", stdin=json.dumps(binding))
    ready = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    patch = json.dumps({"status": ready})
    cluster.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    def endpoint() -> dict[str, object] | None:
        slices = cluster.admin.get("endpointslices", "-n", namespace)["items"]
        return next((one for found in slices for one in found["endpoints"] or ()), None)

    try:
        found = eventually(endpoint)
    finally:
        cluster.kubectl("delete", "node", "n1")
    assert found["addresses"] == ["10.1.2.3"]
    assert found["conditions"] == {"ready": True, "serving": True, "terminating": False}


def test_a_token_for_heddle_is_reviewed_as_its_pod(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, namespace, POD)
    uid = cluster.admin.get("pod", "client", "-n", namespace)["metadata"]["uid"]
    status = review(cluster, cluster.token(namespace, "default", audience="heddle", pod="client"), "heddle")
    assert status["authenticated"] is True
    assert status["audiences"] == ["heddle"]
    user = status["user"]
    assert isinstance(user, dict)
    assert user["username"] == f"system:serviceaccount:{namespace}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]


def test_a_token_for_another_audience_is_refused(cluster: ControlPlane, namespace: str) -> None:
    status = review(cluster, cluster.token(namespace, "default"), "heddle")
    assert not status.get("authenticated")


def test_a_rule_of_a_custom_resource_refuses(cluster: ControlPlane, namespace: str) -> None:
    cluster.admin.apply(DEFINITION)
    try:
        cluster.kubectl("wait", "--for=condition=Established", "crd/splits.test.heddle", "--timeout=50s")
        text = "{{apiVersion: test.heddle/v1, kind: Split, metadata: {{name: s}}, spec: {{weights: [{0}, 50]}}}}"
        apply(cluster, namespace, text.format(50))
        with pytest.raises(CommandFailed, match="weights must sum to 100"):
            apply(cluster, namespace, text.format(40))
    finally:
        cluster.kubectl("delete", "crd", "splits.test.heddle")


def test_a_service_account_may_do_what_it_was_given_and_no_more(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    reader = cluster.service_account(namespace, "reader")
    refused = reader.try_kubectl("get", "pods", "-n", namespace)
    assert refused.returncode != 0
    assert f'User "system:serviceaccount:{namespace}:reader" cannot list resource "pods"' in refused.stderr
    cluster.kubectl("create", "role", "read", "-n", namespace, "--verb=list", "--resource=pods")
    binding = f"--serviceaccount={namespace}:reader"
    cluster.kubectl("create", "rolebinding", "read", "-n", namespace, "--role=read", binding)

    # The API server's authorizer sees a new binding through a watch of its own.
    eventually(lambda: reader.try_kubectl("get", "pods", "-n", namespace).returncode == 0 or None)
    assert reader.try_kubectl("get", "secrets", "-n", namespace).returncode != 0
    assert reader.try_kubectl("get", "pods", "-n", "default").returncode != 0


def test_pod_security_is_enforced(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        apply(cluster, namespace, POD)


def test_a_watch_survives_silence_and_ends_with_the_api_server(cluster: ControlPlane, namespace: str) -> None:
    collection, version = list_configmaps(cluster, namespace)
    configure = ("create", "configmap", "-n", namespace)
    with Watch(cluster, collection, version) as watch:
        cluster.kubectl(*configure, "before")
        cluster.kubectl("delete", "configmap", "before", "-n", namespace)
        assert [watch.next() for _ in range(2)] == [("ADDED", "before"), ("DELETED", "before")]
        cluster.kubectl("create", "secret", "generic", "other", "-n", namespace)
        cluster.kubectl(*configure, "after")
        assert watch.next() == ("ADDED", "after")
        cluster.kill_api_server()
        assert watch.next() is None


def test_a_watch_from_before_a_restart_has_to_list_again(cluster: ControlPlane, namespace: str) -> None:
    collection, version = list_configmaps(cluster, namespace)
    # The new API server's watch cache begins at etcd's revision of its start: one write of any kind in between, and
    # what the watcher has read last is too old. Without such a write it may go on; no client can rely on that.
    cluster.kubectl("create", "configmap", "missed", "-n", namespace)
    cluster.kill_api_server()
    cluster.start_api_server()
    with Watch(cluster, collection, version) as watch:
        assert watch.next() == ("ERROR", "Expired")
    collection, version = list_configmaps(cluster, namespace)
    assert "missed" in cluster.kubectl("get", "configmaps", "-n", namespace, "-o", "name")
    with Watch(cluster, collection, version) as watch:
        cluster.kubectl("create", "configmap", "after", "-n", namespace)
        assert watch.next() == ("ADDED", "after")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_an_api_server_that_went_away_comes_back_with_its_data(cluster: ControlPlane, namespace: str, how: str) -> None:
    apply(cluster, namespace, DEPLOYMENT)
    before = cluster.admin.get("deployment", "web", "-n", namespace)["metadata"]["uid"]
    token = cluster.token(namespace, "default", audience="heddle")
    if how == "killed":
        cluster.kill_api_server()
    else:
        cluster.stop_api_server()
    assert cluster.status(API_SERVER) == (-9 if how == "killed" else 0)
    with pytest.raises(CommandFailed, match=r"refused"):
        cluster.kubectl("get", "namespaces")
    cluster.start_api_server()
    assert cluster.admin.get("deployment", "web", "-n", namespace)["metadata"]["uid"] == before
    assert review(cluster, token, "heddle")["authenticated"] is True
    # The controllers stayed and go on.
    assert cluster.status(CONTROLLERS) is None
    cluster.kubectl("scale", "deployment/web", "-n", namespace, "--replicas=3")
    cluster.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.replicas}=3", "deployment/web", "--timeout=55s")


def test_helm_installs_a_chart_and_takes_it_away(cluster: ControlPlane, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 0.1.0\n")
    (tmp_path / "values.yaml").write_text("colour: blue\n")
    (tmp_path / "templates" / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tiny}\ndata: {colour: {{ .Values.colour }}}\n"
    )
    cluster.helm("lint", str(tmp_path))
    cluster.helm("install", "tiny", str(tmp_path), "-n", namespace, "--set", "colour=red", "--wait")
    assert cluster.admin.get("configmap", "tiny", "-n", namespace)["data"] == {"colour": "red"}
    cluster.helm("uninstall", "tiny", "-n", namespace, "--wait")
    assert "NotFound" in cluster.admin.try_kubectl("get", "configmap", "tiny", "-n", namespace).stderr


def test_starting_an_api_server_that_runs_does_nothing(cluster: ControlPlane) -> None:
    before = cluster.pid(API_SERVER)
    cluster.start_api_server()
    assert cluster.pid(API_SERVER) == before
