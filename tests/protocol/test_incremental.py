"""After any series of changes the memo answers every asker as a fresh process would, and has marked what differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.asker import Asker
from model.mesh import Mesh
from model.names import AddressCluster
from model.on_demand import Wanted
from model.pods import ProxyKind
from model.view import view_of
from protos.encoder import encode
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from sources.store import Store
from translators.resources import answering, derive, names_in_scope
from xds.events import DerivationFailed
from xds.memo import Marks, Memo
from xds.read_memo import KnownAsker

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST)
ISTIO = "networking.istio.io/v1"
Held: TypeAlias = Mapping[str, Mapping[str, bytes]]
"""By type and name."""


def askers() -> list[KnownAsker]:
    def asker(
        namespace: str,
        app: str,
        *,
        vhds: bool = True,
        kind: ProxyKind = ProxyKind.SIDECAR,
        on_demand: bool = False,
    ) -> KnownAsker:
        return KnownAsker(
            Asker(
                namespace=namespace,
                pod=app,
                service_account="s",
                kind=kind,
                labels={"app": app, "pod": f"{namespace}{app}"},
                address="10.9.9.9",
                vhds=vhds,
                on_demand=on_demand,
            )
        )

    return [
        asker("a", "web"),
        asker("a", "job"),
        asker("a", "web", vhds=False),
        asker("b", "web"),
        asker("c", "job"),
        asker("a", "web", kind=ProxyKind.GATEWAY),
        asker("a", "web", on_demand=True),
        asker("b", "job", on_demand=True),
    ]


def service(namespace: str, name: str, ports: str, selector: str) -> str:
    address = f"10.1.{'abc'.index(namespace)}.{'xyz'.index(name) + 1}"
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: "{name}", namespace: {namespace}}}
spec: {{clusterIP: {address}, {selector}ports: {ports}}}
"""


def pod(namespace: str, name: str, version: str, ready: str, inject: str) -> str:
    """Behind every service of its namespace that selects `web`."""
    address = f"10.3.{'abc'.index(namespace)}.{'mno'.index(name) + 1}"
    return f"""
apiVersion: v1
kind: Pod
metadata:
  {{name: "{name}", namespace: {namespace}, uid: "{name}", labels: {{app: web, version: {version}}},
  annotations: {{sidecar.istio.io/inject: "{inject}"}}}}
spec: {{containers: [{{name: c, command: [sleep]}}]}}
status: {{podIP: {address}, conditions: [{{type: Ready, status: "{ready}"}}]}}
"""


def virtual_service(namespace: str, host: str, to: str, export: str, gateways: str) -> str:
    return f"""
apiVersion: {ISTIO}
kind: VirtualService
metadata: {{name: v, namespace: {namespace}}}
spec: {{hosts: ["{host}"], {gateways}exportTo: ["{export}"], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}
"""


def gateway(namespace: str, name: str, app: str, host: str, port: int) -> str:
    return f"""
apiVersion: {ISTIO}
kind: Gateway
metadata: {{name: "{name}", namespace: {namespace}}}
spec:
  selector: {{app: {app}}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["{host}"]}}]
"""


def peer_authentication(namespace: str, selector: str, mode: str, ports: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: peers, namespace: {namespace}}}
spec: {{{selector}mtls: {{mode: {mode}}}{ports if selector else ""}}}
"""


def authorization_policy(namespace: str, name: str, selector: str, action: str, who: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: "{name}", namespace: {namespace}}}
spec:
  {{{selector}action: {action}, rules: [{{from: [{{source: {{{who}}}}}], to: [{{operation: {{methods: [GET]}}}}]}}]}}
"""


def sidecar(namespace: str, name: str, selector: str, egress: str, mode: str) -> str:
    lines = [f"apiVersion: {ISTIO}", "kind: Sidecar", f"metadata: {{name: {name}, namespace: {namespace}}}", "spec:"]
    lines += [f"  workloadSelector: {{labels: {{app: {selector}}}}}"] if selector else []
    lines += [f"  egress: {egress}"] if egress else []
    lines += [f"  outboundTrafficPolicy: {{mode: {mode}}}"]
    return "\n".join(lines)


def rule(namespace: str, host: str, policy: str) -> str:
    return f"""
apiVersion: {ISTIO}
kind: DestinationRule
metadata: {{name: d, namespace: {namespace}}}
spec: {{host: "{host}", {policy}subsets: [{{name: v1, labels: {{version: v1}}}}]}}
"""


def headless(namespace: str, name: str, pod: str) -> str:
    """A headless service without a selector, and the one pod behind it."""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: "{name}", namespace: {namespace}}}
spec: {{clusterIP: None, ports: [{TCP}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: "{name}-1", namespace: {namespace}, labels: {{kubernetes.io/service-name: "{name}"}}}}
addressType: IPv4
ports: [{TCP}]
endpoints: [{{addresses: [{pod}], conditions: {{ready: true}}}}]
"""


def root(namespace: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "rootNamespace: {namespace}"}}
"""


HTTP, TCP = "{name: http, port: 80}", "{name: tcp, port: 81}"
PORTS = (f"[{HTTP}]", f"[{HTTP}, {TCP}]", f"[{TCP}]", "[{name: odd, port: 80}]", "[{name: u, port: 80, protocol: UDP}]")
QUALIFIED = ("x.a.svc.cluster.local", "y.b.svc.cluster.local", "z.c.svc.cluster.local")
HOSTS = (*QUALIFIED, "foreign.example.com", "*.example.com", "*.b.svc.cluster.local")
EGRESS = (
    "",
    '[{hosts: ["./*"]}]',
    '[{hosts: ["~/*"]}]',
    '[{hosts: ["*/*"]}]',
    '[{hosts: ["a/*", "b/y.b.svc.cluster.local"]}]',
    '[{hosts: ["*/*", "~b/*", "~/x.a.svc.cluster.local"]}]',
    '[{port: {number: 80}, hosts: ["b/*"]}, {hosts: ["./*"]}]',
    '[{port: {number: 81}, hosts: ["*/*"]}]',
    '[{hosts: ["*/*.example.com", "*/*.c.svc.cluster.local"]}]',
)
PODS = ("10.2.0.1", "10.2.0.2")
ADDRESSES = tuple(
    str(AddressCluster(address=address, port=port))
    for port in (80, 81)
    for address in (*PODS, "10.1.0.1", "10.1.1.2", "10.99.0.1")
)
"""What sidecars on demand may ask for, in scope or not."""
ASKED = tuple(
    f"{port}/{host}"
    for port in (80, 81)
    for host in ("x.a", "x.a.svc.cluster.local", "y.b:80", "10.1.1.2", "foreign.example.com", "w.example.com", "nobody")
)
"""Hosts that they may ask for, whoever has them."""
SELECTORS = ("", "selector: {matchLabels: {app: web}}, ")
POLICIES = ("", "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5m}}}, ", "trafficPolicy: {tls: {mode: SIMPLE}}, ")
namespaces = st.sampled_from("abc")
files = st.one_of(
    st.builds(headless, namespaces, st.sampled_from("xyz"), st.sampled_from(PODS)),
    st.builds(
        service,
        namespaces,
        st.sampled_from("xyz"),
        st.sampled_from(PORTS),
        st.sampled_from(["", "selector: {app: web}, "]),
    ),
    st.builds(
        pod,
        namespaces,
        st.sampled_from("mno"),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from(["True", "False"]),
        st.sampled_from(["true", "false"]),
    ),
    st.builds(
        virtual_service,
        namespaces,
        st.sampled_from(HOSTS),
        st.sampled_from(QUALIFIED),
        st.sampled_from("*.abc"),
        st.sampled_from(["", "gateways: [a/one], ", "gateways: [mesh, a/two], "]),
    ),
    st.builds(
        gateway,
        st.just("a"),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["web", "job"]),
        st.sampled_from(["*", "*.example.com", "b/*"]),
        st.sampled_from([80, 8080]),
    ),
    st.builds(
        peer_authentication,
        st.sampled_from(["a", "b", "c", "istio-system"]),
        st.sampled_from(SELECTORS),
        st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE", "UNSET"]),
        st.sampled_from(["", ", portLevelMtls: {80: {mode: DISABLE}}"]),
    ),
    st.builds(
        authorization_policy,
        st.sampled_from(["a", "b", "istio-system"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(SELECTORS),
        st.sampled_from(["ALLOW", "DENY"]),
        st.sampled_from(["namespaces: [a]", 'principals: ["cluster.local/ns/b/sa/s"]']),
    ),
    st.builds(rule, namespaces, st.sampled_from(HOSTS), st.sampled_from(POLICIES)),
    st.builds(
        sidecar,
        namespaces,
        st.sampled_from(["one", "two"]),
        st.sampled_from(["", "web", "job"]),
        st.sampled_from(EGRESS),
        st.sampled_from(["ALLOW_ANY", "REGISTRY_ONLY"]),
    ),
    st.builds(root, namespaces),
)


def place_of(text: str) -> str:
    """One file an object, so that a later version of it takes the earlier one's place."""
    found = re.search(r'kind: (\w+)\nmetadata:\s+{name: "?(\w+)"?, namespace: ([\w-]+)', text)
    assert found is not None
    return " ".join(found.groups()) + ".yaml"


def fresh(mesh: Mesh, asker: KnownAsker) -> Held:
    """What a new process would give, for every name in scope and for each that there is for somebody else."""
    found: dict[str, dict[str, bytes]] = {}
    view = view_of(mesh, asker.asker)
    for type_url in TYPES:
        found[type_url] = {}
        for name in names_in_scope(type_url, view):
            message = derive(type_url, name, view)
            assert message is not None, f"{name} is in scope and does not exist"
            found[type_url][name] = bytes(encode(message))
    if asker.asker.on_demand:
        asked = {name: derive(CLUSTER, name, view) for name in ADDRESSES}
        found[CLUSTER] |= {name: bytes(encode(message)) for name, message in asked.items() if message is not None}
        assert found[CLUSTER].keys() >= set(ADDRESSES)
    return found


def remembered(memo: Memo, asker: KnownAsker) -> Held:
    found: dict[str, dict[str, bytes]] = {}
    for type_url in TYPES:
        asked = ADDRESSES if type_url == CLUSTER and asker.asker.on_demand else ()
        names = dict.fromkeys((*sorted(memo.scope(type_url, asker).members), *asked))
        resources = {name: memo.find(type_url, name, asker).resource for name in names}
        found[type_url] = {name: bytes(each.body) for name, each in resources.items() if each is not None}
        assert found[type_url].keys() == resources.keys()
    return found


def answers(memo: Memo, asker: KnownAsker) -> dict[str, tuple[Wanted | None, bytes]]:
    """What answers for each host that a sidecar on demand may ask for, and the virtual host that it is."""
    found = {}
    for asked in ASKED if asker.asker.on_demand else ():
        wanted = memo.answering(asked, asker)
        invented = wanted is not None and not wanted.declared
        resource = memo.find(VIRTUAL_HOST, wanted.name, asker, invented=invented).resource if wanted else None
        found[asked] = wanted, bytes(resource.body) if resource else b""
    return found


def fresh_answers(mesh: Mesh, asker: KnownAsker) -> dict[str, tuple[Wanted | None, bytes]]:
    view = view_of(mesh, asker.asker)
    found = {}
    for asked in ASKED if asker.asker.on_demand else ():
        wanted = answering(asked, view)
        message = derive(VIRTUAL_HOST, wanted.name, view) if wanted else None
        assert (message is None) == (wanted is None)
        found[asked] = wanted, bytes(encode(message)) if message else b""
    return found


def unmarked_answers(
    before: dict[str, tuple[Wanted | None, bytes]], after: dict[str, tuple[Wanted | None, bytes]], marks: Marks
) -> list[str]:
    hosts = marks.names.get(VIRTUAL_HOST, frozenset())
    missed = []
    for asked, (wanted, body) in after.items():
        told, had = before[asked]
        missed += [asked] if told != wanted and asked not in marks.asked else []
        missed += [wanted.name] if wanted and told == wanted and had != body and wanted.name not in hosts else []
    return missed


def unmarked(before: Held, after: Held, marks: Marks) -> list[tuple[str, str]]:
    """What differs and is not marked."""
    missed = []
    for type_url in TYPES:
        if before[type_url].keys() != after[type_url].keys() and type_url not in marks.scopes:
            missed.append((type_url, ""))
        marked = marks.names.get(type_url, frozenset())
        both = before[type_url].keys() & after[type_url].keys()
        missed += [
            (type_url, name) for name in both if before[type_url][name] != after[type_url][name] and name not in marked
        ]
    return missed


def run(history: list[tuple[str, bool]]) -> None:
    failures: list[DerivationFailed] = []
    store, known = Store(), askers()
    memo = Memo(derive=derive, names=names_in_scope, report=failures.append, answering=answering, mesh=store.mesh)
    held = [remembered(memo, asker) for asker in known]
    answered = [answers(memo, asker) for asker in known]
    for text, stays in history:
        store.replace_file(place_of(text), text.encode() if stays else None)
        marks = memo.advance(store.mesh)
        expected = [fresh(store.mesh, asker) for asker in known]
        for before, after in zip(held, expected, strict=True):
            assert unmarked(before, after, marks) == []
        held = [remembered(memo, asker) for asker in known]
        assert held == expected
        expected_answers = [fresh_answers(store.mesh, asker) for asker in known]
        for told, due in zip(answered, expected_answers, strict=True):
            assert unmarked_answers(told, due, marks) == []
        answered = [answers(memo, asker) for asker in known]
        assert answered == expected_answers
        names = {(url, name) for each in expected for url in TYPES for name in each[url]}
        for asker, own in zip(known, expected, strict=True):
            view = view_of(store.mesh, asker.asker)
            for url, name in names - {(each, name) for each in TYPES for name in own[each]}:
                message = derive(url, name, view)
                resource = memo.find(url, name, asker).resource
                assert (resource and bytes(resource.body)) == (message and bytes(encode(message)))
        assert failures == []


# Few histories and long ones: a change can only be missed where there is much already that it has to do with.
@given(st.lists(st.tuples(files, st.integers(0, 4).map(bool)), min_size=25, max_size=25))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_incremental_equals_fresh(history: list[tuple[str, bool]]) -> None:
    run(history)


@pytest.mark.soak
@given(st.lists(st.tuples(files, st.integers(0, 4).map(bool)), min_size=3, max_size=40))
@settings(max_examples=1000, deadline=None)
def test_incremental_equals_fresh_after_very_many_histories(history: list[tuple[str, bool]]) -> None:
    run(history)
