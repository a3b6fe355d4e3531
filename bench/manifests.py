"""The manifests of a mesh of a given size, and what changes in it."""

from __future__ import annotations

NAMESPACE = "bench"
RARE = "rare"
"""The service that only a few sidecars use."""
BIG = "big"
"""The service with an endpoint on every client's pod, and on one more."""
CHANGED = "change.yaml"
MOVED = "moved.yaml"
PORTS = (80, 8080, 9080)
OFF_80 = 364
"""The services from this on are at the other ports, so that the joined table of port 80 has about 160 KB."""


def port_of(number: int) -> int:
    """Of the service of that number."""
    return PORTS[0] if number < OFF_80 else PORTS[1 + number % 2]


def service(number: int, namespace: str = NAMESPACE, *, name: str = "", selects: str = "") -> str:
    port = port_of(number)
    name = name or f"s{number}"
    return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  clusterIP: 10.{96 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}
  selector: {{app: {selects or name}}}
  ports: [{{name: http, port: {port}, targetPort: 8080}}]
"""


def virtual_service(seconds: int, host: str = "s0", namespace: str = NAMESPACE) -> str:
    """Routes a service to itself, with a time-out that makes each another."""
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}, namespace: {namespace}}}
spec:
  hosts: [{host}]
  http: [{{timeout: {seconds}s, route: [{{destination: {{host: {host}}}}}]}}]
"""


def destination_rule(host: str, namespace: str = NAMESPACE) -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: {namespace}}}
spec: {{host: {host}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 100}}}}}}}}
"""


def pod(number: int, namespace: str = NAMESPACE, *, app: str = "client", address: str = "") -> str:
    address = address or f"10.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: p{number}, namespace: {namespace}, uid: u{number}, labels: {{app: {app}}}}}
spec: {{containers: [{{name: c, command: [sleep]}}]}}
status:
  podIP: {address}
  conditions: [{{type: Ready, status: "True"}}]
"""


def asked(name: str, port: int = PORTS[0]) -> str:
    """A service as Envoy asks for its virtual host."""
    return f"{port}/{name}.{NAMESPACE}.svc.cluster.local"


def together(*texts: str) -> str:
    """One file of all of them."""
    return "---\n".join(texts)


def endpoint_slice(number: int, endpoints: int, namespace: str = NAMESPACE) -> str:
    """The endpoints of the service of that number: addresses that are no pod's."""
    addresses = [number * endpoints + each for each in range(endpoints)]
    listed = ", ".join(
        f"{{addresses: [10.{200 + each // 62500}.{each // 250 % 250}.{each % 250 + 1}]}}" for each in addresses
    )
    return f"""apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{number}, namespace: {namespace}, labels: {{kubernetes.io/service-name: s{number}}}}}
addressType: IPv4
endpoints: [{listed}]
ports: [{{name: http, port: 8080}}]
"""
