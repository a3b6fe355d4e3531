"""Random manifests of every kind that can matter for what somebody gets, and of those that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from hypothesis import strategies as st

from tests.certificates import make_certificate, tls_secret

ISTIO = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
File: TypeAlias = tuple[str, str]
"""Its name and its text. One file an object, so that a later version takes the place of an earlier one."""


def manifest(version: str, kind: str, namespace: str, name: str, rest: str, *, metadata: str = "") -> File:
    text = (
        f'apiVersion: {version}\nkind: {kind}\nmetadata: {{name: "{name}", namespace: {namespace}{metadata}}}\n{rest}'
    )
    return f"{kind} {namespace} {name}.yaml", text


def service(namespace: str, name: str, address: str, ports: str, selector: str, kind: str) -> File:
    """`address` '' for one of its own."""
    own = f"10.1.{'abc'.index(namespace)}.{'xyz'.index(name) + 1}"
    virtual = "" if kind else f"clusterIP: {address or own}, "
    return manifest("v1", "Service", namespace, name, f"spec: {{{kind}{virtual}{selector}ports: {ports}}}")


def entrance(ports: str) -> File:
    """The Service of the gateway."""
    return manifest("v1", "Service", "a", "w", f"spec: {{clusterIP: 10.1.0.9, selector: {{app: gw}}, ports: {ports}}}")


def endpoint_slice(namespace: str, name: str, address: str, ports: str, conditions: str, target: str) -> File:
    found = f"{{addresses: [{address}], conditions: {{{conditions}}}{target}}}"
    rest = f"addressType: IPv4\nports: {ports}\nendpoints: [{found}]"
    metadata = f', labels: {{kubernetes.io/service-name: "{name}"}}'
    return manifest("discovery.k8s.io/v1", "EndpointSlice", namespace, f"{name}-1", rest, metadata=metadata)


def pod(namespace: str, name: str, labels: str, annotation: str, ports: str, rest: str, ready: str) -> File:
    address = f"10.3.{'abc'.index(namespace)}.{'mno'.index(name) + 1}"
    spec = f"spec: {{{rest}containers: [{{{ports}name: c, command: [sleep]}}]}}\n"
    status = f'status: {{podIP: {address}, conditions: [{{type: Ready, status: "{ready}"}}]}}'
    metadata = f', uid: "{name}", labels: {{{labels}}}, annotations: {{{annotation}}}'
    return manifest("v1", "Pod", namespace, name, spec + status, metadata=metadata)


def gateway_pod(template: str) -> File:
    metadata = f", uid: g, labels: {{app: gw}}, annotations: {{inject.istio.io/templates: {template}}}"
    spec = "spec: {containers: [{name: istio-proxy, image: auto, ports: [{containerPort: 8080, name: web}]}]}\n"
    return manifest("v1", "Pod", "a", "g", f"{spec}status: {{podIP: 10.3.0.9}}", metadata=metadata)


def stateful_set(namespace: str, name: str, service: str) -> File:
    """The pod of this name counts as its."""
    template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}"
    spec = f'spec: {{serviceName: "{service}", selector: {{matchLabels: {{app: web}}}}, {template}}}'
    return manifest("apps/v1", "StatefulSet", namespace, name, spec)


def virtual_service(namespace: str, name: str, host: str, gateways: str, export: str, http: str) -> File:
    spec = f'spec: {{hosts: ["{host}"], {gateways}exportTo: ["{export}"], {http}}}'
    return manifest(ISTIO, "VirtualService", namespace, name, spec)


def gateway(name: str, app: str, server: str, host: str) -> File:
    spec = f'spec: {{selector: {{app: {app}}}, servers: [{{hosts: ["{host}"], {server}}}]}}'
    return manifest(ISTIO, "Gateway", "a", name, spec)


def secret(namespace: str, name: str, content: tuple[bytes, bytes]) -> File:
    return f"Secret {namespace} {name}.yaml", tls_secret(name, namespace, *content)


def peer_authentication(namespace: str, selector: str, mode: str, ports: str) -> File:
    spec = f"spec: {{{selector}mtls: {{mode: {mode}}}{ports if selector else ''}}}"
    return manifest(SECURITY, "PeerAuthentication", namespace, "peers", spec)


def authorization_policy(namespace: str, name: str, selector: str, action: str, who: str, what: str) -> File:
    rules = f"[{{from: [{{source: {{{who}}}}}], to: [{{operation: {{{what}}}}}]}}]"
    spec = f"spec: {{{selector}action: {action}, rules: {rules}}}"
    return manifest(SECURITY, "AuthorizationPolicy", namespace, name, spec)


def sidecar(namespace: str, name: str, selector: str, egress: str, mode: str) -> File:
    spec = f"spec: {{{selector}{egress}outboundTrafficPolicy: {{mode: {mode}}}}}"
    return manifest(ISTIO, "Sidecar", namespace, name, spec)


def destination_rule(namespace: str, host: str, policy: str, export: str, version: str) -> File:
    subset = f"{{name: v1, labels: {{version: {version}}}}}"
    spec = f'spec: {{host: "{host}", {policy}exportTo: ["{export}"], subsets: [{subset}]}}'
    return manifest(ISTIO, "DestinationRule", namespace, "d", spec)


def settings(mesh: str) -> File:
    return manifest("v1", "ConfigMap", "istio-system", "istio", f"data: {{mesh: '{mesh}'}}")


def idle_file(kind: str, namespace: str, labels: str) -> File:
    """An object of one of the kinds that nothing anybody gets depends on."""
    metadata = f", labels: {{{labels}}}"
    if kind == "Deployment":
        template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}"
        spec = f"spec: {{selector: {{matchLabels: {{app: web}}}}, {template}}}"
        return manifest("apps/v1", kind, namespace, "m", spec, metadata=metadata)
    if kind == "ConfigMap":
        return manifest("v1", kind, namespace, "istio", "data: {mesh: 'rootNamespace: b'}", metadata=metadata)
    if kind == "ServiceAccount":
        return manifest("v1", kind, namespace, "s", "", metadata=metadata)
    return f"Namespace {namespace}.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}{metadata}}}"


WITHOUT_INFLUENCE = ("Namespace", "ServiceAccount", "Deployment")
"""Kinds that are read for other purposes."""

HTTP, TCP = "{name: http, port: 80, targetPort: 8080}", "{name: tcp, port: 81}"
SERVICE_PORTS = (
    f"[{HTTP}]",
    f"[{HTTP}, {TCP}]",
    f"[{TCP}]",
    "[{name: odd, port: 80}]",
    "[{name: http, port: 82}]",
    "[{name: http, port: 83}, {name: tcp, port: 81}]",
    "[{name: grpc, port: 80, targetPort: web}]",
    "[{name: u, port: 80, protocol: UDP}]",
)
ENTRANCE_PORTS = (
    "[{name: http, port: 80, targetPort: 8080}]",
    "[{name: http, port: 80, targetPort: web}, {name: https, port: 443, targetPort: 8443}]",
    "[{name: https, port: 443, targetPort: 8444}]",
)
QUALIFIED = ("x.a.svc.cluster.local", "y.b.svc.cluster.local", "z.c.svc.cluster.local")
HOSTS = (*QUALIFIED, "foreign.example.com", "w.example.com", "*.example.com", "*.b.svc.cluster.local")
SELECTED = ("", "selector: {app: web}, ", "selector: {app: web}, ", "selector: {app: job}, ")
POD_LABELS = ("app: web, version: v1", "app: web, version: v2", "app: job, istio-locality: r1.z1")
EXCLUDED = 'traffic.sidecar.istio.io/excludeInboundPorts: "80,81,8080"'
ANNOTATIONS = ("", "", EXCLUDED, EXCLUDED, 'sidecar.istio.io/inject: "false"')
POD_PORTS = ("", "ports: [{containerPort: 8080, name: web}], ", "ports: [{containerPort: 9000, name: web}], ")
POD_REST = (
    "serviceAccountName: s, ",
    "serviceAccountName: s, ",
    "serviceAccountName: s, hostname: h, subdomain: x, ",
    "serviceAccountName: t, ",
)
SLICE_TARGETS = ("", ', targetRef: {kind: Pod, name: "m"}', ', targetRef: {kind: Pod, name: "n"}')
CONDITIONS = ("ready: true", "ready: false", "ready: false, serving: true, terminating: true")
TO = "route: [{destination: {host: %s}}]"
HTTP_ROUTES = (
    f"http: [{{{TO}}}]",
    f"http: [{{match: [{{uri: {{prefix: /x}}}}], mirror: {{host: y.b.svc.cluster.local}}, {TO}}}]",
    f"http: [{{match: [{{sourceLabels: {{app: web}}}}], {TO}}}, {{directResponse: {{status: 418}}}}]",
    f"http: [{{fault: {{abort: {{httpStatus: 500, percentage: {{value: 9}}}}}}, match: [{{port: 80}}], {TO}}}]",
    "http: [{route: [{destination: {host: %s, subset: v1}, weight: 3}, "
    "{destination: {host: y.b.svc.cluster.local, port: {number: 81}}, weight: 7}]}]",
)
"""`%s` for the host they lead to."""
GATEWAYS = ("", "", "gateways: [a/one], ", "gateways: [mesh, a/two, a/one], ")
HTTPS = "port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: %s}"
SERVERS = (
    "port: {number: 80, name: http, protocol: HTTP}",
    "port: {number: 8080, name: http, protocol: HTTP}, tls: {httpsRedirect: true}",
    HTTPS % "one",
    HTTPS % "two",
)
SECRETS = (make_certificate("a", serial=1), make_certificate("a", serial=2), (b"no certificate", b"no key"))
WORKLOADS = ("", "selector: {matchLabels: {app: web}}, ", "selector: {matchLabels: {app: gw}}, ")
MODES = ("STRICT", "PERMISSIVE", "DISABLE", "UNSET")
PORT_MODES = ("", ", portLevelMtls: {8080: {mode: DISABLE}}", ", portLevelMtls: {80: {mode: STRICT}}")
WHO = ("namespaces: [a]", 'principals: ["cluster.local/ns/b/sa/s"]', 'ipBlocks: ["10.0.0.0/8"]')
WHAT = ("methods: [GET]", 'ports: ["8080"]')
SIDECAR_SELECTORS = ("", "workloadSelector: {labels: {app: web}}, ", "workloadSelector: {labels: {app: job}}, ")
EGRESS = (
    "",
    'egress: [{hosts: ["./*"]}], ',
    'egress: [{hosts: ["~/*"]}], ',
    'egress: [{hosts: ["*/*"]}], ',
    'egress: [{hosts: ["a/*", "b/y.b.svc.cluster.local"]}], ',
    'egress: [{hosts: ["*/*", "~b/*", "~/x.a.svc.cluster.local"]}], ',
    'egress: [{port: {number: 80}, hosts: ["b/*"]}, {hosts: ["./*"]}], ',
    'egress: [{port: {number: 81}, hosts: ["*/*"]}], ',
    'egress: [{hosts: ["*/*.example.com", "*/*.c.svc.cluster.local"]}], ',
)
POLICIES = (
    "",
    "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5m}}}, ",
    "trafficPolicy: {tls: {mode: SIMPLE}}, ",
    "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, ",
    "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}, ",
    "trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}, ",
)
SETTINGS = (
    "rootNamespace: a",
    "rootNamespace: b",
    "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
    "trustDomain: other.local",
    "defaultVirtualServiceExportTo: [.]",
    "enableAutoMtls: false",
    "accessLogFile: /dev/stdout",
)

among = st.sampled_from
namespaces, numbers, pod_names = among("abc"), among("xyz"), among("mn")
policed = among(("a", "b", "istio-system"))
routes = st.builds(lambda form, host: form % host, among(HTTP_ROUTES), among(QUALIFIED))
MATTERING: Mapping[str, st.SearchStrategy[File]] = {
    "Service": st.one_of(
        st.builds(
            service,
            namespaces,
            numbers,
            among(("", "", "None", "10.1.7.7")),
            among(SERVICE_PORTS),
            among(SELECTED),
            among(("", "", "", "type: ExternalName, externalName: w.example.com, ")),
        ),
        st.builds(entrance, among(ENTRANCE_PORTS)),
    ),
    "EndpointSlice": st.builds(
        endpoint_slice,
        namespaces,
        numbers,
        among(("10.2.0.1", "10.2.0.2", "10.3.0.1")),
        among(("[{name: tcp, port: 81}]", "[{name: http, port: 8080}]")),
        among(CONDITIONS),
        among(SLICE_TARGETS),
    ),
    "Pod": st.one_of(
        st.builds(
            pod,
            namespaces,
            pod_names,
            among(POD_LABELS),
            among(ANNOTATIONS),
            among(POD_PORTS),
            among(POD_REST),
            among(("True", "True", "False")),
        ),
        st.builds(gateway_pod, among(("gateway", "gateway", "sidecar"))),
    ),
    "StatefulSet": st.builds(stateful_set, namespaces, pod_names, numbers),
    "ConfigMap": st.builds(settings, among(SETTINGS)),
    "Secret": st.builds(secret, among("ab"), among(("one", "two")), among(SECRETS)),
    "VirtualService": st.builds(
        virtual_service, namespaces, among("vw"), among(HOSTS), among(GATEWAYS), among("**.ab"), routes
    ),
    "Gateway": st.builds(
        gateway,
        among(("one", "two")),
        among(("gw", "gw", "gw", "web")),
        among(SERVERS),
        among(("*", "*", "*.example.com", "b/*", "./w.example.com")),
    ),
    "Sidecar": st.builds(
        sidecar,
        namespaces,
        among(("one", "two")),
        among(SIDECAR_SELECTORS),
        among(EGRESS),
        among(("ALLOW_ANY", "REGISTRY_ONLY")),
    ),
    "DestinationRule": st.builds(
        destination_rule, namespaces, among(HOSTS), among(POLICIES), among("*."), among(("v1", "v2"))
    ),
    "PeerAuthentication": st.builds(peer_authentication, policed, among(WORKLOADS), among(MODES), among(PORT_MODES)),
    "AuthorizationPolicy": st.builds(
        authorization_policy,
        policed,
        among(("one", "two")),
        among(WORKLOADS),
        among(("ALLOW", "DENY")),
        among(WHO),
        among(WHAT),
    ),
}
"""How an object of each kind that can matter comes about."""
captured_pods = st.builds(
    pod,
    namespaces,
    pod_names,
    st.just(POD_LABELS[0]),
    among(("", EXCLUDED)),
    st.just(POD_PORTS[0]),
    st.just(POD_REST[0]),
    st.just("True"),
)
"""Pods that differ in nothing but what is captured."""

idle_files = st.builds(
    idle_file, among((*WITHOUT_INFLUENCE, "ConfigMap")), namespaces, among(("", "app: web", "app: job"))
)
