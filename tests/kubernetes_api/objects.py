"""Objects as an API server holds them, for tests and benchmarks."""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def metadata(name: str, namespace: str = "shop", **other: object) -> Json:
    place = {"namespace": namespace} if namespace else {}
    return {"name": name, **place, **other}


def namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, "")}


def service(name: str, port: int = 80, *, namespace: str = "shop") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace),
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
    }


def endpoint_slice(service: str, pods: dict[str, str], *, namespace: str = "shop") -> Json:
    """`pods` are addresses by the pods' names."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(f"{service}-x", namespace, labels={"kubernetes.io/service-name": service}),
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
            }
            for pod, address in pods.items()
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def pod(
    name: str, address: str, *, app: str = "web", namespace: str = "shop", node: str = "", meshed: bool = True
) -> Json:
    sidecar = [{"name": "istio-proxy", "image": "envoy"}] if meshed else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(
            name,
            namespace,
            uid=f"uid-{name}",
            labels={"app": app, **({} if meshed else {"sidecar.istio.io/inject": "false"})},
            annotations={"heddle.io/injected": "{}"} if meshed else {},
        ),
        "spec": {
            "serviceAccountName": app,
            "nodeName": node,
            "initContainers": sidecar,
            "containers": [{"name": "app", "image": "app", "ports": [{"containerPort": 8080, "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running" if address else "Pending",
            **({"podIP": address, "podIPs": [{"ip": address}]} if address else {}),
            "conditions": [{"type": "Ready", "status": "True" if address else "False"}],
        },
    }


def node(name: str, region: str, zone: str) -> Json:
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata(name, "", labels=labels)}


def virtual_service(name: str, timeout: str = "1s", *, host: str = "web", created: str = "2026-01-01") -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata(name, creationTimestamp=f"{created}T00:00:00Z"),
        "spec": {"hosts": [host], "http": [{"timeout": timeout, "route": [{"destination": {"host": host}}]}]},
    }


def destination_rule(name: str, *subsets: str) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": metadata(name, creationTimestamp="2026-01-01T00:00:00Z"),
        "spec": {"host": name, "subsets": [{"name": subset, "labels": {"version": subset}} for subset in subsets]},
    }


def mesh_config(text: str, *, name: str = "istio", namespace: str = "istio-system") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, namespace),
        "data": {"mesh": text},
    }


def secret(name: str, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, namespace),
        "data": {"tls.key": "aGVkZGxl"},
    }


def changed(item: Json, **spec: object) -> Json:
    """A copy with other fields in its spec."""
    found = copy.deepcopy(item)
    found["spec"].update(spec)
    return found
