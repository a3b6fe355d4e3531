"""What a Sidecar names is sent ahead to a workload that learns everything else on demand."""

from __future__ import annotations

import pytest

from model.asker import Asker
from model.view import view_of
from protos.type_urls import VIRTUAL_HOST
from sources.store import Store
from translators.declared_hosts import declared_hosts
from translators.resources import names_in_scope

SERVICE = """apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: tcp, port: 5432}]}
"""
SIDECAR = """apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: [%s]}]}
"""
USERS = "80/users.shop.svc.cluster.local:80"


@pytest.mark.parametrize(
    ("hosts", "declared"),
    [("./users.shop.svc.cluster.local", [USERS]), ('"*/*"', []), ("./*", ["80/db.shop.svc.cluster.local:80", USERS])],
)
def test_what_a_sidecar_names(hosts: str, declared: list[str]) -> None:
    store = Store()
    store.replace_file("a.yaml", "---\n".join((SERVICE % "users", SERVICE % "db", SIDECAR % hosts)).encode())
    view = view_of(store.mesh, Asker(namespace="shop", pod="p", service_account="s", on_demand=True))
    assert [str(name) for name in declared_hosts(view)] == declared
    assert set(declared) <= set(names_in_scope(VIRTUAL_HOST, view))


def test_without_a_sidecar_nothing_is_declared() -> None:
    store = Store()
    store.replace_file("a.yaml", (SERVICE % "users").encode())
    view = view_of(store.mesh, Asker(namespace="shop", pod="p", service_account="s", on_demand=True))
    assert declared_hosts(view) == ()
