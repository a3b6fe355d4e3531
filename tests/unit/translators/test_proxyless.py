"""What a gRPC client gets of a name: its target's forms, and what it must not call in plaintext."""

from __future__ import annotations

import pytest

from model.asker import Asker
from model.pods import ProxyKind
from model.view import View, view_of
from protos.type_urls import CLUSTER, LISTENER, ROUTE, VIRTUAL_HOST
from sources.store import Store
from translators.resources import derive, names_in_scope

MESH = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {selector: {app: echo}, ports: [{name: grpc, port: 80}, {name: tcp, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: shop}
spec: {selector: {app: secure}, ports: [{name: grpc, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secure, namespace: shop}
spec: {host: secure, trafficPolicy: {tls: {mode: SIMPLE}}}
"""


@pytest.fixture
def view() -> View:
    store = Store()
    store.replace_file("mesh.yaml", MESH.encode())
    return view_of(
        store.mesh, Asker(namespace="shop", pod="p", service_account="s", kind=ProxyKind.PROXYLESS, vhds=False)
    )


@pytest.mark.parametrize("target", ["echo:80", "echo.shop:80", "echo.shop.svc:80", "echo.shop.svc.cluster.local:80"])
def test_a_target_is_any_form_of_the_name(view: View, target: str) -> None:
    assert derive(LISTENER, target, view) is not None
    assert derive(ROUTE, target, view) is not None


@pytest.mark.parametrize(
    "target", ["echo", "echo:", ":80", "echo:81", "echo:90", "nobody:80", "echo:eighty", "virtualOutbound"]
)
def test_anything_else_is_no_listener(view: View, target: str) -> None:
    assert derive(LISTENER, target, view) is None
    assert derive(ROUTE, target, view) is None


def test_where_tls_is_asked_for_nothing_is_called_in_plaintext(view: View) -> None:
    assert derive(CLUSTER, "outbound|80||echo.shop.svc.cluster.local", view) is not None
    assert derive(CLUSTER, "outbound|80||secure.shop.svc.cluster.local", view) is None
    assert derive(CLUSTER, "inbound|80||", view) is None
    assert derive(CLUSTER, "nonsense", view) is None


def test_it_gets_what_it_names_and_nothing_else(view: View) -> None:
    assert names_in_scope(CLUSTER, view) == names_in_scope(LISTENER, view) == ()
    assert derive(VIRTUAL_HOST, "80/echo.shop.svc.cluster.local:80", view) is None
