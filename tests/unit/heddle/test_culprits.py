"""What a refused resource was made of, by file and line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heddle.cluster.replica_progress import RejectedAt
from heddle.culprits import MOST, Culprits
from heddle.status import _print
from model.asker import Asker
from protos.type_urls import CLUSTER, LISTENER, ROUTE, VIRTUAL_HOST
from sources.store import Store

ASKER = Asker(namespace="shop", pod="web-1", service_account="web")
HOST = "users.shop.svc.cluster.local"
MANIFESTS = """\
apiVersion: v1
kind: Service
metadata: {name: users, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: shop}
spec: {hosts: [users], http: [{route: [{destination: {host: users}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all, namespace: shop}
spec: {host: "*.shop.svc.cluster.local"}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""


def culprits(text: str = MANIFESTS) -> Culprits:
    store = Store()
    store.replace_files({"a.yaml": text.encode()})
    return Culprits(store.objects.values(), store.mesh.settings.root_namespace)


@pytest.mark.parametrize(
    ("type_url", "resource", "assignment", "found"),
    [
        (VIRTUAL_HOST, f"80/{HOST}:80", "", ("VirtualService/shop/users", 6)),
        (VIRTUAL_HOST, "80/other.example:80", "", None),
        (CLUSTER, f"outbound|80||{HOST}", "", ("DestinationRule/shop/all", 11)),
        (CLUSTER, "10.0.0.1:80", f"outbound|80||{HOST}", ("DestinationRule/shop/all", 11)),
        (CLUSTER, "BlackHoleCluster", "", None),
        (LISTENER, "virtualInbound", "", ("PeerAuthentication/shop/default", 16)),
        (LISTENER, "virtualOutbound", "", None),
    ],
)
def test_each_is_named_by_what_it_was_made_of(
    type_url: str, resource: str, assignment: str, found: tuple[str, int] | None
) -> None:
    rejected = RejectedAt(asker=ASKER, type_url=type_url, resource=resource, words="no", assignment=assignment)
    told = [(str(each.ref), each.position.line) for each in culprits().of(rejected)]
    assert told == ([] if found is None else [found])


def test_whose_a_listener_is_decides_what_it_was_made_of() -> None:
    mesh = culprits()
    rejected = RejectedAt(asker=ASKER, type_url=LISTENER, resource="virtualInbound", words="no")
    elsewhere = replace(rejected, asker=replace(ASKER, namespace="elsewhere"))
    assert [len(mesh.of(each)) for each in (rejected, elsewhere, rejected)] == [1, 0, 1]


def test_a_great_many_are_not_all_named() -> None:
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    spec = f"spec: {{hosts: [{HOST}], http: [{{route: [{{destination: {{host: users}}}}]}}]}}\n"
    text = "---\n".join(f"{head}metadata: {{name: v{one}, namespace: n{one}}}\n{spec}" for one in range(MOST + 5))
    rejected = RejectedAt(asker=ASKER, type_url=VIRTUAL_HOST, resource=f"80/{HOST}:80", words="no")
    assert len(culprits(text).of(rejected)) == MOST
    assert culprits(text).of(RejectedAt(asker=ASKER, type_url=ROUTE, resource="80", words="no")) == ()


def test_the_place_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    objects = [{"resource": "VirtualService/shop/users", "file": "a.yaml", "line": 6}]
    plane = {"name": "", "version": "1"}
    rejection = {"namespace": "shop", "pod": "web-1", "type": "route", "reason": "no", "resources": ["r"]}
    found = {"mesh": "m", "directory": "d", "generation": 1, "control_planes": [plane], "sidecars": []}
    again = {"code": "RejectedBySidecar", "severity": "error", "file": "a.yaml", "line": 6, "field": "", "fix": "mend"}
    finding = {**again, "resource": "VirtualService/shop/users", "message": "told already"}
    _print({**found, "rejections": [{**rejection, "objects": objects}], "pending": [], "findings": [finding]})
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "REJECTED by web-1.shop: route: no",
        "  in r",
        "  of VirtualService/shop/users (a.yaml:6)",
    ]
