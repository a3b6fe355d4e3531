"""S6: a server's certificate goes to the gateways that serve it, in its own namespace, and to nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.asker import Asker
from model.pods import ProxyKind
from sds.gateway_secrets import describe_server_secrets, find_server_secret
from sources.store import Store
from tests.certificates import make_certificate, tls_secret

EDGE = Asker(namespace="edge", pod="edge-1", service_account="edge", kind=ProxyKind.GATEWAY, labels={"app": "edge"})
NAME = "kubernetes://shop"


def gateway(credential: str, *, namespace: str = "edge", label: str = "edge") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {credential}, namespace: {namespace}}}
spec:
  selector: {{app: {label}}}
  servers:
    - port: {{number: 443, name: https, protocol: HTTPS}}
      tls: {{mode: SIMPLE, credentialName: {credential}}}
      hosts: [shop.example]
"""


def store_of(*texts: str) -> Store:
    store = Store()
    store.replace_file("a.yaml", "---".join(texts).encode())
    return store


def secret(name: str, namespace: str, serial: int = 1) -> str:
    return tls_secret(name, namespace, *make_certificate(f"{name}.{namespace}", serial=serial))


def test_the_gateway_that_serves_it_gets_it() -> None:
    mesh = store_of(gateway("shop"), secret("shop", "edge"), secret("shop", "other")).mesh
    found = find_server_secret(NAME, EDGE, mesh)
    assert found is not None
    held = mesh.credentials["edge", "shop"]
    assert held.private_key in bytes(found.body)  # type: ignore[union-attr]
    assert "PRIVATE" not in repr(found)
    (shown,) = describe_server_secrets(EDGE, mesh)
    assert (shown.name, shown.subject, shown.serial.lstrip("0")) == (NAME, "CN=shop.edge", "1")


@pytest.mark.parametrize(
    "asker",
    [
        replace(EDGE, kind=ProxyKind.SIDECAR),
        replace(EDGE, labels={"app": "other"}),
        replace(EDGE, namespace="other"),
    ],
    ids=["a sidecar with its labels", "another gateway", "a gateway of another namespace"],
)
def test_nobody_else_gets_it(asker: Asker) -> None:
    mesh = store_of(gateway("shop"), secret("shop", "edge")).mesh
    assert find_server_secret(NAME, asker, mesh) is None
    assert describe_server_secrets(asker, mesh) == ()


@pytest.mark.parametrize("name", ["shop", "kubernetes://", "kubernetes://edge/shop", "kubernetes://lost", "default"])
def test_other_names_mean_nothing(name: str) -> None:
    mesh = store_of(gateway("shop"), secret("shop", "edge")).mesh
    assert find_server_secret(name, EDGE, mesh) is None


def test_a_secret_of_its_namespace_that_no_gateway_of_it_names_is_not_given() -> None:
    mesh = store_of(gateway("shop"), gateway("admin", label="internal"), secret("admin", "edge")).mesh
    assert ("edge", "admin") in mesh.credentials
    assert find_server_secret("kubernetes://admin", EDGE, mesh) is None


def test_the_version_follows_the_certificate() -> None:
    store = store_of(gateway("shop"))
    versions = []
    for serial in (1, 2):
        store.replace_file("b.yaml", secret("shop", "edge", serial).encode())
        found = find_server_secret(NAME, EDGE, store.mesh)
        assert found is not None
        versions.append(found.version)
    assert len(set(versions)) == 2
