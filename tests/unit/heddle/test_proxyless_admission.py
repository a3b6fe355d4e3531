"""Which pods are answered as gRPC libraries, and which of these are told of certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from heddle.control_plane import ControlPlane, PlaneSettings
from model.pods import ProxyKind
from sds.tokens import Caller
from translators.bootstrap import node_id
from xds.wire import Node

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, uid: a}
spec: {containers: [{name: web, image: web}]}
status: {podIP: 10.2.0.6}
"""
GRPC, ENVOY = "gRPC C-core linux 1.85.1", "envoy 1.36.0"


@pytest.mark.parametrize(
    ("agent", "said", "kind", "certificates"),
    [
        (GRPC, {"CERTIFICATE_PROVIDER": "default"}, ProxyKind.PROXYLESS, True),
        (GRPC, {"CERTIFICATE_PROVIDER": "another"}, ProxyKind.PROXYLESS, False),
        (GRPC, {}, ProxyKind.PROXYLESS, False),
        (ENVOY, {"CERTIFICATE_PROVIDER": "default"}, ProxyKind.SIDECAR, False),
    ],
)
async def test_certificates_are_what_a_library_says_it_has(
    tmp_path: Path, agent: str, said: dict[str, str], kind: ProxyKind, certificates: bool
) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "pods.yaml").write_text(POD)
    plane = ControlPlane(PlaneSettings(directory=tmp_path / "manifests", keys=tmp_path / "keys", host="127.0.0.1"))
    caller = Caller(namespace="shop", service_account="default", pod_name="web-1", pod_uid="a")
    node = Node(id=node_id(namespace="shop", pod="web-1", address="10.2.0.6"), user_agent=agent, metadata=said)
    asker = plane.admission.admit(caller, node)
    assert (asker.kind, asker.certificates) == (kind, certificates)
    assert plane.admission.asker_of(caller, node) is asker
