"""Who is a gateway: the pod says it, by its annotation, and the node has to agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from heddle.control_plane import ControlPlane, PlaneSettings
from model.pods import ProxyKind
from sds.tokens import Caller
from translators.bootstrap import NodeType, node_id
from xds.admission import PermissionDenied
from xds.wire import Node

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: edge, uid: a, annotations: {inject.istio.io/templates: gateway}}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {podIP: 10.2.0.5}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: edge, uid: b}
spec: {containers: [{name: web, image: web}]}
status: {podIP: 10.2.0.6}
"""


@pytest.fixture
async def plane(tmp_path: Path) -> ControlPlane:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "pods.yaml").write_text(PODS)
    return ControlPlane(PlaneSettings(directory=tmp_path / "manifests", keys=tmp_path / "keys", host="127.0.0.1"))


def caller(name: str, uid: str) -> Caller:
    return Caller(namespace="edge", service_account="default", pod_name=name, pod_uid=uid)


def node(name: str, kind: NodeType) -> Node:
    return Node(id=node_id(namespace="edge", pod=name, address="10.2.0.5", node_type=kind))


async def test_each_is_admitted_as_what_its_pod_is(plane: ControlPlane) -> None:
    edge = plane.admission.admit(caller("edge-1", "a"), node("edge-1", "router"))
    web = plane.admission.admit(caller("web-1", "b"), node("web-1", "sidecar"))
    assert (edge.kind, web.kind) == (ProxyKind.GATEWAY, ProxyKind.SIDECAR)


@pytest.mark.parametrize(("name", "uid", "kind"), [("edge-1", "a", "sidecar"), ("web-1", "b", "router")])
async def test_a_node_that_calls_itself_something_else_is_refused(
    plane: ControlPlane, name: str, uid: str, kind: NodeType
) -> None:
    with pytest.raises(PermissionDenied):
        plane.admission.admit(caller(name, uid), node(name, kind))
