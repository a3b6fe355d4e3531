"""A cluster of a size and shape as real ones have: with all that a mesh does not need and an API server sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

NAMESPACE = "bench"
PODS_A_SERVICE = 5
_LONG_AGO = "2026-01-01T00:00:00Z"


def objects(services: int) -> Iterator[Json]:
    """A Service, an EndpointSlice, a VirtualService, a DestinationRule and five pods for each of `services`."""
    yield {"apiVersion": "v1", "kind": "Node", "metadata": _metadata("n1", "", {"topology.kubernetes.io/zone": "z1"})}
    for number in range(services):
        yield service(number)
        yield endpoint_slice(number)
        yield virtual_service(number, 1)
        yield destination_rule(number)
        yield from (pod(number, replica) for replica in range(PODS_A_SERVICE))


def service(number: int) -> Json:
    address = f"10.96.{number // 250}.{number % 250 + 1}"
    spec = {
        "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        "selector": {"app": f"s{number}"},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
    }  # fmt: skip
    return _object("v1", "Service", f"s{number}", {"spec": spec, "status": {"loadBalancer": {}}})


def endpoint_slice(number: int) -> Json:
    listed = [
        {
            "addresses": [_address(number, replica)],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n1",
            "zone": "z1",
            "targetRef": {"kind": "Pod", "name": _pod_name(number, replica), "namespace": NAMESPACE, "uid": "u"},
        }
        for replica in range(PODS_A_SERVICE)
    ]
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    body = {"addressType": "IPv4", "endpoints": listed, "ports": ports}
    labels = {"kubernetes.io/service-name": f"s{number}"}
    return _object("discovery.k8s.io/v1", "EndpointSlice", f"s{number}-x7k2p", body, labels)


def virtual_service(number: int, seconds: int) -> Json:
    host = f"s{number}"
    shares = [
        {"destination": {"host": host, "subset": name}, "weight": part} for name, part in (("v1", 90), ("v2", 10))
    ]
    spec = {
        "hosts": [host],
        "http": [
            {
                "match": [{"headers": {"x-canary": {"exact": "yes"}}}],
                "route": [{"destination": {"host": host, "subset": "v2"}}],
            },
            {"timeout": f"{seconds}s", "retries": {"attempts": 2, "perTryTimeout": "1s"}, "route": shares},
        ],
    }
    return _object("networking.istio.io/v1", "VirtualService", host, {"spec": spec})


def destination_rule(number: int) -> Json:
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    policy = {"loadBalancer": {"simple": "LEAST_REQUEST"}, "connectionPool": {"tcp": {"maxConnections": 100}}}
    spec = {"host": f"s{number}", "subsets": subsets, "trafficPolicy": policy}
    return _object("networking.istio.io/v1", "DestinationRule", f"s{number}", {"spec": spec})


def pod(number: int, replica: int) -> Json:
    address, version = _address(number, replica), "v2" if replica == 0 else "v1"
    labels = {"app": f"s{number}", "version": version, "pod-template-hash": "6d4cf56db6"}
    mounts = [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}]
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    container = {
        "image": "registry.example/app@sha256:" + "0" * 64, "imagePullPolicy": "IfNotPresent", "resources": resources,
        "env": [{"name": f"SETTING_{each}", "value": "something"} for each in range(8)], "volumeMounts": mounts,
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    }  # fmt: skip
    toleration: Json = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    toleration["tolerationSeconds"] = 300
    spec = {
        "serviceAccountName": f"s{number}", "nodeName": "n1", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
        "initContainers": [{**container, "name": "istio-proxy", "restartPolicy": "Always"}],
        "containers": [{**container, "name": "app", "ports": [{"containerPort": 8080, "protocol": "TCP"}]}],
        "tolerations": [toleration],
        "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
    }  # fmt: skip
    ran = {"ready": True, "restartCount": 0, "state": {"running": {"startedAt": _LONG_AGO}}}
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    status = {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "192.168.0.1",
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": _LONG_AGO} for kind in kinds],
        "containerStatuses": [{"name": "app", "imageID": "sha256:" + "0" * 64, **ran}],
    }  # fmt: skip
    found = _object("v1", "Pod", _pod_name(number, replica), {"spec": spec, "status": status}, labels)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"s{number}-6d4cf56db6", "controller": True}
    found["metadata"].update(ownerReferences=[owner], annotations={"heddle.io/injected": "{}"})
    return found


def _object(version: str, kind: str, name: str, body: Json, labels: dict[str, str] | None = None) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": _metadata(name, NAMESPACE, labels or {}), **body}


def _metadata(name: str, namespace: str, labels: dict[str, str]) -> Json:
    place = {"namespace": namespace} if namespace else {}
    fields: Json = {f"f:{field}": {".": {}, "f:first": {}, "f:second": {}} for field in ("metadata", "spec", "status")}
    writer = {"manager": "kubectl", "operation": "Update", "time": _LONG_AGO, "fieldsV1": fields}
    return {
        "name": name, **place, "labels": labels, "uid": f"uid-{name}", "creationTimestamp": _LONG_AGO,
        "managedFields": [writer, writer],
    }  # fmt: skip


def _pod_name(number: int, replica: int) -> str:
    return f"s{number}-6d4cf56db6-{replica}"


def _address(number: int, replica: int) -> str:
    index = number * PODS_A_SERVICE + replica
    return f"10.{index // 62500 + 1}.{index // 250 % 250}.{index % 250 + 1}"
