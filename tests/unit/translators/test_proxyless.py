"""What a gRPC client gets of a name: its target's forms, and what it must not call in plaintext."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext

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
    assert names_in_scope(CLUSTER, view) == names_in_scope(LISTENER, view) == frozenset()
    assert derive(VIRTUAL_HOST, "80/echo.shop.svc.cluster.local:80", view) is None


MUTUAL = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {selector: {app: echo}, ports: [{name: grpc, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-v1, namespace: shop, labels: {app: echo, version: v1}}
spec: {serviceAccountName: echo, containers: [{name: echo, image: echo}]}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo-v2, namespace: shop, labels: {app: echo, version: v2, sidecar.istio.io/inject: "INJECT"}}
spec: {serviceAccountName: newer, containers: [{name: echo, image: echo}]}
status: {podIP: 10.0.0.2, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: shop}
spec:
  host: echo
  trafficPolicy: TRAFFIC
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {SELECTOR mtls: {mode: MODE}}
"""


def expected_names(
    *,
    mode: str,
    tls: str = "{}",
    selector: str = "",
    inject: str = "true",
    subset: str = "",
    certificates: bool = True,
    more: str = "",
) -> list[str] | None:
    """Whom a client of the echo service takes for it, by mutual TLS; empty in plaintext, None without a cluster."""
    text = MUTUAL.replace("TRAFFIC", tls).replace("SELECTOR", selector).replace("MODE", mode).replace("INJECT", inject)
    store = Store()
    store.replace_file("mesh.yaml", (text + more).encode())
    asker = Asker(
        namespace="shop", pod="p", service_account="s", kind=ProxyKind.PROXYLESS, vhds=False, certificates=certificates
    )
    built = derive(CLUSTER, f"outbound|80|{subset}|echo.shop.svc.cluster.local", view_of(store.mesh, asker))
    if built is None:
        return None
    assert isinstance(built, Cluster)
    if built.transport_socket is None:
        return []
    assert built.transport_socket.typed_config is not None
    context = built.transport_socket.typed_config.unpack()
    assert isinstance(context, UpstreamTlsContext)
    assert context.common_tls_context is not None
    assert context.common_tls_context.combined_validation_context is not None
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    assert validation is not None
    names = [matcher.exact or "" for matcher in validation.match_subject_alt_names]
    typed = [one.matcher.exact or "" for one in validation.match_typed_subject_alt_names if one.matcher]
    assert names == typed
    return names


ECHO, NEWER = (f"spiffe://cluster.local/ns/shop/sa/{account}" for account in ("echo", "newer"))


def test_mutual_tls_where_nothing_else_is_taken() -> None:
    assert expected_names(mode="STRICT") == [ECHO, NEWER]
    assert expected_names(mode="PERMISSIVE") == expected_names(mode="DISABLE") == []


def test_nothing_is_automatic_where_the_mesh_says_so() -> None:
    by_hand = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "enableAutoMtls: false"}
"""
    assert expected_names(mode="STRICT", more=by_hand) == []
    assert expected_names(mode="STRICT", tls="{tls: {mode: ISTIO_MUTUAL}}", more=by_hand) == [ECHO, NEWER]


def test_nobody_is_told_of_certificates_who_has_none() -> None:
    assert expected_names(mode="STRICT", certificates=False) == []
    assert expected_names(mode="PERMISSIVE", tls="{tls: {mode: ISTIO_MUTUAL}}", certificates=False) is None


def test_one_endpoint_that_takes_nothing_else_decides_for_all_of_its_subset() -> None:
    selector = "selector: {matchLabels: {version: v1}},"
    assert expected_names(mode="STRICT", selector=selector) == [ECHO, NEWER]
    assert expected_names(mode="STRICT", selector=selector, subset="v1") == [ECHO, NEWER]
    assert expected_names(mode="STRICT", selector=selector, subset="v2") == []


def test_a_pod_without_a_sidecar_is_not_expected_to_answer() -> None:
    assert expected_names(mode="STRICT", inject="false") == [ECHO]


def test_a_destination_rule_decides() -> None:
    assert expected_names(mode="STRICT", tls="{tls: {mode: DISABLE}}") == []
    assert expected_names(mode="PERMISSIVE", tls="{tls: {mode: ISTIO_MUTUAL}}") == [ECHO, NEWER]
    named = "{tls: {mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://cluster.local/ns/shop/sa/other]}}"
    assert expected_names(mode="PERMISSIVE", tls=named) == ["spiffe://cluster.local/ns/shop/sa/other"]
    assert expected_names(mode="STRICT", tls="{tls: {mode: SIMPLE}}") is None
